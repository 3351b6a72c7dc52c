//! Keeps a store of what is there and says what changed, over one watch or one for each namespace.
//!
//! kube's own reflector says nothing of an object that vanished while a watch was interrupted, and takes one watch for
//! one store. Here a deletion is never missed: a rollout that a policy held must be released when the policy is gone.

use std::collections::HashMap;

use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use kube::Resource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};

/// Names of objects that are new, changed or gone, after the store shows it; and errors of the watch, which goes on.
pub type Touched<K> = BoxStream<'static, watcher::Result<ObjectRef<K>>>;

/// Whether a change from one state of an object to another is worth telling.
pub(super) type Differs<K> = fn(&K, &K) -> bool;

/// A watch of one namespace, or of all when it has no name.
pub(super) type Watch<K> = (Option<String>, BoxStream<'static, watcher::Result<Event<K>>>);

/// Fills one store from these watches. The store is ready when all of them have listed what is there, and what it
/// holds then is told first. The store is filled while the stream is polled.
pub(super) fn reflect<K>(watches: Vec<Watch<K>>, differs: Differs<K>) -> (Store<K>, Touched<K>)
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let (store, writer) = kube::runtime::reflector::store();
    let mut listings = Vec::new();
    let mut events = SelectAll::new();
    for (index, (namespace, watch)) in watches.into_iter().enumerate() {
        listings.push(Listing { namespace, objects: Some(HashMap::new()), is_done: false });
        events.push(watch.map(move |event| (index, event)).boxed());
    }
    let mut reflector = Reflector { store: store.clone(), writer, listings, differs };
    let touched = events.flat_map(move |(index, event)| match event {
        Ok(event) => stream::iter(reflector.take(index, event).into_iter().map(Ok).collect::<Vec<_>>()),
        Err(error) => stream::iter(vec![Err(error)]),
    });
    (store, touched.boxed())
}

/// Where one watch is.
struct Listing<K: Lookup> {
    namespace: Option<String>,
    /// What a listing in progress has brought so far, and until the store is ready also what came after it.
    objects: Option<HashMap<ObjectRef<K>, K>>,
    /// It has listed everything at least once.
    is_done: bool,
}

struct Reflector<K>
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    store: Store<K>,
    writer: Writer<K>,
    listings: Vec<Listing<K>>,
    differs: Differs<K>,
}

impl<K> Reflector<K>
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + 'static,
{
    /// Takes one event of one watch, and returns what changed in the store.
    fn take(&mut self, index: usize, event: Event<K>) -> Vec<ObjectRef<K>> {
        let is_ready = self.is_ready();
        let listing = &mut self.listings[index];
        match event {
            Event::Init => {
                listing.objects = Some(HashMap::new());
                // Listed once, interrupted, and listing again before the others were done even once.
                listing.is_done &= is_ready;
                Vec::new()
            }
            Event::InitApply(object) => {
                listing.objects.get_or_insert_default().insert(ObjectRef::from_obj(&object), object);
                Vec::new()
            }
            Event::InitDone if is_ready => {
                let objects = listing.objects.take().unwrap_or_default();
                self.replace(index, objects)
            }
            Event::InitDone => {
                listing.is_done = true;
                if self.is_ready() { self.fill() } else { Vec::new() }
            }
            Event::Apply(object) if is_ready => self.apply(object).into_iter().collect(),
            Event::Apply(object) => {
                listing.objects.get_or_insert_default().insert(ObjectRef::from_obj(&object), object);
                Vec::new()
            }
            Event::Delete(object) if is_ready => vec![self.delete(object)],
            Event::Delete(object) => {
                listing.objects.get_or_insert_default().remove(&ObjectRef::from_obj(&object));
                Vec::new()
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.listings.iter().all(|listing| listing.is_done)
    }

    /// Every watch has listed what is there: the store gets all of it at once.
    fn fill(&mut self) -> Vec<ObjectRef<K>> {
        let mut touched = Vec::new();
        self.writer.apply_watcher_event(&Event::Init);
        for objects in self.listings.iter_mut().filter_map(|listing| listing.objects.take()) {
            for (name, object) in objects {
                self.writer.apply_watcher_event(&Event::InitApply(object));
                touched.push(name);
            }
        }
        self.writer.apply_watcher_event(&Event::InitDone);
        touched
    }

    /// A watch had to list again: what it no longer lists is gone.
    fn replace(&mut self, index: usize, objects: HashMap<ObjectRef<K>, K>) -> Vec<ObjectRef<K>> {
        let namespace = self.listings[index].namespace.as_deref();
        let gone = self.store.state_filter(|known| {
            let is_ours = namespace.is_none() || known.meta().namespace.as_deref() == namespace;
            is_ours && !objects.contains_key(&ObjectRef::from_obj(known))
        });
        let mut touched: Vec<_> = gone.into_iter().map(|known| self.delete((*known).clone())).collect();
        touched.extend(objects.into_values().filter_map(|object| self.apply(object)));
        touched
    }

    fn apply(&mut self, object: K) -> Option<ObjectRef<K>> {
        let name = ObjectRef::from_obj(&object);
        let is_news = self.store.get(&name).is_none_or(|known| (self.differs)(&known, &object));
        self.writer.apply_watcher_event(&Event::Apply(object));
        is_news.then_some(name)
    }

    fn delete(&mut self, object: K) -> ObjectRef<K> {
        let name = ObjectRef::from_obj(&object);
        self.writer.apply_watcher_event(&Event::Delete(object));
        name
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(namespace: &str, name: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(namespace.to_owned());
        object.metadata.name = Some(name.to_owned());
        object.metadata.resource_version = Some(version.to_owned());
        object
    }

    fn differs(a: &ConfigMap, b: &ConfigMap) -> bool {
        a.metadata.resource_version != b.metadata.resource_version
    }

    /// Feeds the events of two namespaces in this order, and returns the store and what was told after each.
    fn fed(events: Vec<(usize, Event<ConfigMap>)>) -> (Store<ConfigMap>, Vec<Vec<String>>) {
        let (store, writer) = kube::runtime::reflector::store();
        let listing = |name: &str| Listing { namespace: Some(name.to_owned()), objects: None, is_done: false };
        let listings = vec![listing("rosa"), listing("blau")];
        let mut reflector = Reflector { store: store.clone(), writer, listings, differs };
        let told = events.into_iter().map(|(index, event)| {
            let mut names: Vec<_> = reflector.take(index, event).into_iter().map(|name| name.name).collect();
            names.sort();
            names
        });
        let told = told.collect();
        (store, told)
    }

    fn listed() -> Vec<(usize, Event<ConfigMap>)> {
        vec![
            (0, Event::Init),
            (0, Event::InitApply(object("rosa", "r1", "1"))),
            (0, Event::InitApply(object("rosa", "r2", "1"))),
            (0, Event::InitDone),
            (1, Event::Init),
            (1, Event::InitApply(object("blau", "b1", "1"))),
            (1, Event::InitDone),
        ]
    }

    #[test]
    fn nothing_is_told_before_every_namespace_is_listed() {
        let (store, told) = fed(listed());
        let (last, before) = told.split_last().expect("events were fed");
        assert!(before.iter().all(Vec::is_empty), "{before:?}");
        assert_eq!(last, &["b1", "r1", "r2"]);
        assert!(store.wait_until_ready().now_or_never().is_some_and(|ready| ready.is_ok()));
    }

    #[test]
    fn a_store_is_not_ready_while_a_namespace_is_missing() {
        let (store, _) = fed(listed().into_iter().take(6).collect());
        assert!(store.wait_until_ready().now_or_never().is_none_or(|ready| ready.is_err()));
    }

    #[test]
    fn a_namespace_that_lists_again_before_the_store_is_ready_is_waited_for() {
        let mut events = listed();
        events.insert(4, (0, Event::Init));
        events.extend([(0, Event::InitApply(object("rosa", "r4", "1"))), (0, Event::InitDone)]);
        let (_, told) = fed(events);
        assert_eq!(told[7], Vec::<String>::new());
        assert_eq!(told.last().expect("events were fed"), &["b1", "r4"]);
    }

    #[test]
    fn what_changes_while_another_namespace_is_still_listing_is_not_lost() {
        let mut events = listed();
        events.insert(4, (0, Event::Delete(object("rosa", "r1", "2"))));
        events.insert(5, (0, Event::Apply(object("rosa", "r3", "2"))));
        let (_, told) = fed(events);
        assert_eq!(told.last().expect("events were fed"), &["b1", "r2", "r3"]);
    }

    #[test]
    fn what_vanished_while_a_watch_was_interrupted_is_told() {
        let mut events = listed();
        events.extend([(0, Event::Init), (0, Event::InitApply(object("rosa", "r2", "1"))), (0, Event::InitDone)]);
        let (store, told) = fed(events);
        assert_eq!(told.last().expect("events were fed"), &["r1"]);
        assert_eq!(store.len(), 2, "the other namespace is untouched");
    }

    #[test]
    fn what_did_not_change_is_not_told_again() {
        let mut events = listed();
        events.push((0, Event::Apply(object("rosa", "r1", "1"))));
        events.push((0, Event::Apply(object("rosa", "r1", "2"))));
        let (_, told) = fed(events);
        assert_eq!(told[7..], [vec![], vec!["r1".to_owned()]]);
    }

    #[test]
    fn a_deletion_is_told_when_the_store_shows_it() {
        let mut events = listed();
        events.push((1, Event::Delete(object("blau", "b1", "2"))));
        let (store, told) = fed(events);
        assert_eq!(told.last().expect("events were fed"), &["b1"]);
        assert_eq!(store.get(&ObjectRef::new("b1").within("blau")), None);
    }

    #[tokio::test]
    async fn an_error_of_a_watch_is_passed_on_and_the_watch_goes_on() {
        let events: Vec<watcher::Result<Event<ConfigMap>>> = vec![
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Init),
            Ok(Event::InitApply(object("rosa", "r1", "1"))),
            Ok(Event::InitDone),
        ];
        let (_, touched) = reflect(vec![(None, stream::iter(events).boxed())], differs);
        let touched: Vec<_> = touched.map(|touched| touched.map(|name| name.name).ok()).collect().await;
        assert_eq!(touched, [None, Some("r1".to_owned())]);
    }
}
