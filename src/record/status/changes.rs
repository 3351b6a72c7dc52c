//! What is to change in a policy's status, gathered until it is written. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use serde_json::{Map, Value};

use super::patch::merge_patch;
use super::summary::{self, Numbers, runs};
use crate::api::status::ObjectiveStatus;

/// The most rollouts a status holds. 200 entries of at most 0.4 kB are 80 kB, well below what etcd takes in one object
/// and what a write in 72 ms was measured with.
pub const ROLLOUTS_KEPT: usize = 200;

const ROLLOUTS: &str = "rollouts";
const CONDITIONS: &str = "conditions";
const OBJECTIVES: &str = "objectives";
const SUCCEEDED_IMAGES: &str = "succeededImages";

/// Changes of one policy's status. Later ones replace earlier ones of the same part.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Changes {
    /// By Deployment: the new entry, or its removal.
    pub(super) rollouts: BTreeMap<String, Option<Value>>,
    /// By Deployment: what it burns of each objective.
    pub(super) numbers: Numbers,
    /// What is left of each objective's budget, in the policy's order.
    pub(super) budgets: Option<Vec<ObjectiveStatus>>,
    /// By Deployment: the images of its revisions that succeeded; none takes its entry away.
    pub(super) images: BTreeMap<String, Vec<String>>,
    /// By type.
    pub(super) conditions: BTreeMap<String, Condition>,
    /// All other fields, by name.
    pub(super) fields: BTreeMap<String, Value>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        let Self { rollouts, numbers, budgets, images, conditions, fields } = self;
        rollouts.is_empty()
            && numbers.is_empty()
            && budgets.is_none()
            && images.is_empty()
            && conditions.is_empty()
            && fields.is_empty()
    }

    /// Adds `newer`, which wins where both say something.
    pub(super) fn add(&mut self, newer: Self) {
        self.rollouts.extend(newer.rollouts);
        self.numbers.extend(newer.numbers);
        self.budgets = newer.budgets.or(self.budgets.take());
        self.images.extend(newer.images);
        self.conditions.extend(newer.conditions);
        self.fields.extend(newer.fields);
    }

    /// Brings what is known of each Deployment's numbers up to date: those of a rollout that is over are forgotten.
    pub(super) fn update(&self, numbers: &mut Numbers) {
        numbers.extend(self.numbers.clone());
        for (deployment, entry) in &self.rollouts {
            if !entry.as_ref().is_some_and(runs) {
                numbers.remove(deployment);
            }
        }
    }

    /// The merge patch of `status` that brings these changes about, evictions and what follows from all rollouts and
    /// their `numbers` included; `None` when it is all there already. What no change speaks of stays, also what this
    /// version does not know.
    pub(super) fn plan(&self, status: &Map<String, Value>, numbers: &Numbers) -> Option<Map<String, Value>> {
        let mut desired = status.clone();
        for (field, value) in &self.fields {
            match value {
                Value::Object(entries) if entries.is_empty() => drop(desired.remove(field)),
                value => drop(desired.insert(field.clone(), value.clone())),
            }
        }
        self.apply_conditions(&mut desired);
        self.apply_rollouts(&mut desired);
        self.apply_numbers(&mut desired, numbers);
        self.apply_images(&mut desired);
        merge_patch(status, &desired)
    }

    fn apply_conditions(&self, status: &mut Map<String, Value>) {
        if self.conditions.is_empty() {
            return;
        }
        // A list that cannot be read was not written by us; it is replaced.
        let mut list: Vec<Condition> =
            status.get(CONDITIONS).and_then(|list| serde_json::from_value(list.clone()).ok()).unwrap_or_default();
        for condition in self.conditions.values() {
            set_condition(&mut list, condition.clone());
        }
        status.insert(CONDITIONS.to_owned(), json_of(&list));
    }

    fn apply_rollouts(&self, status: &mut Map<String, Value>) {
        if self.rollouts.is_empty() {
            return;
        }
        let mut entries = match status.remove(ROLLOUTS) {
            Some(Value::Object(entries)) => entries,
            _ => Map::new(),
        };
        for (deployment, entry) in &self.rollouts {
            match entry {
                Some(entry) => entries.insert(deployment.clone(), entry.clone()),
                None => entries.remove(deployment),
            };
        }
        summary::count(status, &entries);
        evict(&mut entries);
        status.insert(ROLLOUTS.to_owned(), Value::Object(entries));
    }

    /// Of Deployments whose rollout has an entry.
    fn apply_images(&self, status: &mut Map<String, Value>) {
        let mut entries = match status.remove(SUCCEEDED_IMAGES) {
            Some(Value::Object(entries)) => entries,
            _ => Map::new(),
        };
        for (deployment, images) in &self.images {
            match images.is_empty() {
                true => drop(entries.remove(deployment)),
                false => drop(entries.insert(deployment.clone(), json_of(images))),
            }
        }
        let rollouts = status.get(ROLLOUTS).and_then(Value::as_object);
        entries.retain(|deployment, _| rollouts.is_some_and(|rollouts| rollouts.contains_key(deployment)));
        if !entries.is_empty() {
            status.insert(SUCCEEDED_IMAGES.to_owned(), Value::Object(entries));
        }
    }

    fn apply_numbers(&self, status: &mut Map<String, Value>, numbers: &Numbers) {
        let burns = !self.rollouts.is_empty() || !self.numbers.is_empty();
        if !burns && self.budgets.is_none() {
            return;
        }
        let mut list: Vec<ObjectiveStatus> =
            status.get(OBJECTIVES).and_then(|list| serde_json::from_value(list.clone()).ok()).unwrap_or_default();
        if burns {
            list = summary::worst(numbers, &list);
        }
        if let Some(budgets) = &self.budgets {
            list = summary::with_budgets(list, budgets);
        }
        if !list.is_empty() {
            status.insert(OBJECTIVES.to_owned(), json_of(&list));
        }
    }
}

/// The JSON form of a struct, list or map with string keys; all of those have one.
pub(super) fn json_of(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Sets a condition in the list. `lastTransitionTime` moves only when its status does.
fn set_condition(list: &mut Vec<Condition>, mut condition: Condition) {
    match list.iter_mut().find(|known| known.type_ == condition.type_) {
        Some(known) => {
            if known.status == condition.status {
                condition.last_transition_time = known.last_transition_time.clone();
            }
            *known = condition;
        }
        None => list.push(condition),
    }
}

/// Keeps [`ROLLOUTS_KEPT`] entries: those that run first, then those that changed phase last.
fn evict(entries: &mut Map<String, Value>) {
    let surplus = entries.len().saturating_sub(ROLLOUTS_KEPT);
    if surplus == 0 {
        return;
    }
    let mut ranked: Vec<(bool, Timestamp, String)> = entries
        .iter()
        .map(|(deployment, entry)| {
            let (runs, since) = rank(entry);
            (runs, since, deployment.clone())
        })
        .collect();
    ranked.sort_unstable();
    for (_, _, deployment) in ranked.into_iter().take(surplus) {
        entries.remove(&deployment);
    }
}

/// Whether a rollout's entry is of one that is not over, and since when it is in its phase. An entry that cannot be read
/// goes first.
fn rank(entry: &Value) -> (bool, Timestamp) {
    let since = entry.get("since").and_then(Value::as_str).and_then(|since| since.parse().ok());
    (runs(entry), since.unwrap_or(Timestamp::MIN))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn entry(phase: &str, since: u32) -> Value {
        json!({"phase": phase, "since": format!("2031-05-04T10:{:02}:{:02}Z", since / 60, since % 60)})
    }

    fn rollout(deployment: &str, entry: Option<Value>) -> Changes {
        Changes { rollouts: [(deployment.to_owned(), entry)].into(), ..Changes::default() }
    }

    fn condition(status: &str, message: &str, at: i64) -> Condition {
        Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: "Because".to_owned(),
            message: message.to_owned(),
            observed_generation: Some(2),
            last_transition_time: Time(Timestamp::from_second(at).unwrap()),
        }
    }

    fn with_condition(condition: Condition) -> Changes {
        Changes { conditions: [(condition.type_.clone(), condition)].into(), ..Changes::default() }
    }

    #[test]
    fn what_is_there_already_is_not_written() {
        let status = object(json!({"rollouts": {"tin": entry("Promoting", 0)}, "runningRollouts": 1, "targets": 3}));
        let mut changes = rollout("tin", Some(entry("Promoting", 0)));
        changes.fields.insert("targets".to_owned(), json!(3));
        assert_eq!(changes.plan(&status, &Numbers::new()), None);
        assert_eq!(rollout("lion", None).plan(&status, &Numbers::new()), None);
    }

    #[test]
    fn one_patch_names_the_changed_rollouts_and_no_other() {
        let status = object(json!({"rollouts": {"tin": entry("Promoting", 0), "straw": entry("Succeeded", 1)}}));
        let mut changes = rollout("tin", Some(entry("Monitoring", 0)));
        changes.add(rollout("lion", Some(entry("Promoting", 2))));
        let patch = changes.plan(&status, &Numbers::new()).unwrap();
        let expected = json!({
            "rollouts": {"tin": {"phase": "Monitoring"}, "lion": entry("Promoting", 2)},
            "runningRollouts": 2,
        });
        assert_eq!(Value::Object(patch), expected);
    }

    #[test]
    fn a_removed_rollout_is_written_as_null() {
        let status = object(json!({"rollouts": {"tin": entry("Promoting", 0)}}));
        let patch = rollout("tin", None).plan(&status, &Numbers::new()).unwrap();
        assert_eq!(Value::Object(patch), json!({"rollouts": {"tin": null}, "runningRollouts": 0}));
    }

    #[test]
    fn fields_of_another_version_stay() {
        let status = object(json!({"fromTheFuture": {"a": 1}, "rollouts": {}}));
        let patch = rollout("tin", Some(entry("Promoting", 0))).plan(&status, &Numbers::new()).unwrap();
        assert!(!patch.contains_key("fromTheFuture"));
    }

    #[test]
    fn the_newer_change_of_the_same_part_wins() {
        let mut changes = rollout("tin", Some(entry("Promoting", 0)));
        changes.add(rollout("tin", None));
        assert_eq!(changes, rollout("tin", None));
    }

    #[test]
    fn the_transition_time_of_a_condition_moves_only_with_its_status() {
        let status = object(json!({"conditions": [json_of(&condition("True", "old words", 100))]}));
        let transition_time = |change: Condition| {
            let patch = with_condition(change).plan(&status, &Numbers::new()).unwrap();
            let list: Vec<Condition> = serde_json::from_value(patch["conditions"].clone()).unwrap();
            list[0].last_transition_time.0.as_second()
        };
        assert_eq!(transition_time(condition("True", "new words", 200)), 100);
        assert_eq!(transition_time(condition("False", "new words", 200)), 200);
        assert_eq!(with_condition(condition("True", "old words", 200)).plan(&status, &Numbers::new()), None);
    }

    #[test]
    fn conditions_of_other_types_stay_where_they_are() {
        let other = Condition { type_: "Other".to_owned(), ..condition("False", "", 1) };
        let status = object(json!({"conditions": [json_of(&other)]}));
        let patch = with_condition(condition("True", "", 2)).plan(&status, &Numbers::new()).unwrap();
        let list: Vec<Condition> = serde_json::from_value(patch["conditions"].clone()).unwrap();
        let types: Vec<_> = list.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ["Other", "Ready"]);
    }

    #[test]
    fn of_too_many_rollouts_the_running_ones_stay_first_and_then_the_latest() {
        let mut entries = Map::new();
        for i in 0..ROLLOUTS_KEPT - 2 {
            entries.insert(format!("ended-{i:03}"), entry("Succeeded", 100 + i as u32));
        }
        entries.insert("held-for-long".to_owned(), entry("Rejected", 0));
        entries.insert("running-for-long".to_owned(), entry("Promoting", 1));
        let status = object(json!({"rollouts": entries}));

        let mut changes = rollout("new", Some(entry("Promoting", 900)));
        changes.add(rollout("new-too", Some(entry("RolledBack", 901))));
        let patch = changes.plan(&status, &Numbers::new()).unwrap();
        let evicted: Vec<_> =
            patch["rollouts"].as_object().unwrap().iter().filter(|(_, v)| v.is_null()).map(|(k, _)| k).collect();
        assert_eq!(evicted, ["ended-000", "ended-001"]);
        assert!(patch["rollouts"]["new"].is_object() && patch["rollouts"]["new-too"].is_object());
    }

    #[test]
    fn a_new_entry_that_is_the_least_of_too_many_is_not_written_at_all() {
        let mut entries = Map::new();
        for i in 0..ROLLOUTS_KEPT {
            entries.insert(format!("running-{i:03}"), entry("Promoting", 100));
        }
        let status = object(json!({"rollouts": entries, "runningRollouts": ROLLOUTS_KEPT}));
        assert_eq!(rollout("old", Some(entry("Succeeded", 0))).plan(&status, &Numbers::new()), None);
    }

    #[test]
    fn numbers_are_those_of_rollouts_that_are_not_over() {
        let objective = ObjectiveStatus {
            name: "latency".to_owned(),
            burn_rate: Some("2.0".to_owned()),
            ..ObjectiveStatus::default()
        };
        let looked = Changes { numbers: [("tin".to_owned(), vec![objective])].into(), ..Changes::default() };
        let mut numbers = Numbers::new();
        looked.update(&mut numbers);
        let patch = looked.plan(&Map::new(), &numbers).unwrap();
        let expected = json!({"objectives": [{"name": "latency", "burnRate": "2.0", "deployment": "tin"}]});
        assert_eq!(Value::Object(patch.clone()), expected);

        let over = rollout("tin", Some(entry("Succeeded", 3)));
        over.update(&mut numbers);
        assert_eq!(over.plan(&patch, &numbers).unwrap()["objectives"], json!([{"name": "latency"}]));
    }

    #[test]
    fn what_is_left_of_budgets_and_what_is_burnt_do_not_wipe_each_other() {
        let objective = |name: &str| ObjectiveStatus { name: name.to_owned(), ..ObjectiveStatus::default() };
        let burnt = ObjectiveStatus { burn_rate: Some("2.0".to_owned()), ..objective("latency") };
        let left = ObjectiveStatus {
            budget_remaining: Some("63.2%".to_owned()),
            budget_span: Some("3d".to_owned()),
            window: Some("28d".to_owned()),
            ..objective("latency")
        };
        let looked = Changes { numbers: [("tin".to_owned(), vec![burnt])].into(), ..Changes::default() };
        let asked = Changes { budgets: Some(vec![left, objective("quick")]), ..Changes::default() };
        let mut numbers = Numbers::new();
        looked.update(&mut numbers);

        let status = asked.plan(&Map::new(), &Numbers::new()).unwrap();
        let both = json!([
            {
                "name": "latency", "deployment": "tin", "burnRate": "2.0", "window": "28d", "budgetRemaining": "63.2%",
                "budgetSpan": "3d",
            },
            {"name": "quick"},
        ]);
        assert_eq!(looked.plan(&status, &numbers).unwrap()["objectives"], both);
        let status = looked.plan(&Map::new(), &numbers).unwrap();
        assert_eq!(asked.plan(&status, &numbers).unwrap()["objectives"], both);

        let over = rollout("tin", Some(entry("Succeeded", 3)));
        over.update(&mut numbers);
        let status = object(json!({"objectives": both}));
        let kept = json!([
            {"name": "latency", "window": "28d", "budgetRemaining": "63.2%", "budgetSpan": "3d"},
            {"name": "quick"},
        ]);
        assert_eq!(over.plan(&status, &numbers).unwrap()["objectives"], kept);
    }

    #[test]
    fn a_budget_that_is_not_known_any_more_is_not_shown() {
        let status = object(json!({"objectives": [{"name": "latency", "budgetRemaining": "63.2%"}, {"name": "gone"}]}));
        let objective = ObjectiveStatus { name: "latency".to_owned(), ..ObjectiveStatus::default() };
        let asked = Changes { budgets: Some(vec![objective]), ..Changes::default() };
        assert_eq!(asked.plan(&status, &Numbers::new()).unwrap()["objectives"], json!([{"name": "latency"}]));
    }
}
