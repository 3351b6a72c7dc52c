//! Whether a request may be counted more than once: pods that are read several times over, in a way that the operator cannot
//! tell from several containers. It takes what several jobs or Prometheus servers read at one address for the same.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::measure::client::{Queries, Series};
use crate::measure::promql::Selector;
use crate::measure::scrape::Failure;

/// What to say of the pods that have the series of `total`.
pub(super) async fn warnings(
    endpoint: &impl Queries,
    total: &Selector,
    namespace: &str,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let labels = total.labels();
    let by = labels.copy();
    let read = endpoint.instant(&format!("group by ({by}) ({})", total.within(namespace)), now).await?;
    // One series for each target, with the labels that the scrape gives and no others.
    let up = Selector::of_targets(labels).within(namespace);
    let targets = endpoint.instant(&up, now).await?;
    Ok(at_several_addresses(&read).into_iter().chain(twice_by_one_job(&read, &targets, &by)).collect())
}

fn label<'a>(series: &'a Series, name: &str) -> &'a str {
    series.labels().find_map(|(label, value)| (label == name).then_some(value)).unwrap_or_default()
}

/// The pod to be named, and how many more there are.
fn pods(pods: &BTreeSet<&str>) -> String {
    let first = pods.first().copied().unwrap_or_default();
    if pods.len() > 1 { format!("{first} (and of {} more)", pods.len() - 1) } else { first.to_owned() }
}

/// Pods whose series come from several addresses.
fn at_several_addresses(read: &[Series]) -> Option<String> {
    let mut addresses = BTreeMap::<&str, BTreeMap<&str, &str>>::new();
    for series in read.iter().filter(|series| !series.pod.is_empty()) {
        addresses.entry(&series.pod).or_default().insert(label(series, "instance"), label(series, "job"));
    }
    addresses.retain(|_, addresses| addresses.len() > 1);
    let of: Vec<String> = addresses.values().next()?.iter().map(|(at, job)| format!("{at} (job {job})")).collect();
    Some(format!(
        "the series of pod {} are read at {} addresses: {}. They are added up, as those of several containers; if they are \
         the same counters, requests count more than once and a release is judged too hastily: give each selector a matcher that \
         leaves one of them, such as one for job",
        pods(&addresses.keys().copied().collect()),
        of.len(),
        of.join(", ")
    ))
}

/// Pods that one job reads more than once at one address. The labels `by` say which series are taken for such copies.
fn twice_by_one_job(read: &[Series], targets: &[Series], by: &str) -> Option<String> {
    // The namespace is one, and the pod's name has a place of its own.
    let key = |series: &Series| {
        let rest = by.split(", ").skip(2).map(|name| label(series, name).to_owned());
        [series.pod.clone()].into_iter().chain(rest).collect::<Vec<_>>()
    };
    let mut copies = BTreeMap::<Vec<String>, Vec<&Series>>::new();
    for target in targets {
        copies.entry(key(target)).or_default().push(target);
    }
    let twice = read.iter().filter_map(|series| Some((series.pod.as_str(), copies.get(&key(series))?)));
    let twice: BTreeMap<&str, &Vec<&Series>> = twice.filter(|(_, targets)| targets.len() > 1).collect();
    let targets = twice.values().next()?;
    let names: BTreeSet<&str> = targets.iter().flat_map(|target| target.labels().map(|(name, _)| name)).collect();
    let differing = names.into_iter().filter_map(|name| {
        let values: BTreeSet<&str> = targets.iter().map(|target| label(target, name)).collect();
        (values.len() > 1).then(|| format!("{name} ({})", values.into_iter().collect::<Vec<_>>().join(", ")))
    });
    Some(format!(
        "pod {} is read {} times over by one job; what is read differs in {} alone. Each request counts as several, and a \
         release is judged too hastily: give each selector a matcher for that label which leaves one of them",
        pods(&twice.keys().copied().collect()),
        targets.len(),
        differing.collect::<Vec<_>>().join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PodLabels;

    fn series(pod: &str, labels: &[(&str, &str)]) -> Series {
        let others = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Series { namespace: "ofen-4".to_owned(), pod: pod.to_owned(), others, ..Series::default() }
    }

    #[test]
    fn what_is_read_at_several_addresses_may_be_the_same() {
        let one = series("ofen-7-bbbbb", &[("instance", "10.0.0.3:80"), ("job", "ofen")]);
        let again = series("ofen-7-bbbbb", &[("instance", "10.0.0.3:80"), ("job", "monitor")]);
        assert_eq!(at_several_addresses(&[one.clone(), again]), None, "several jobs read the same");
        let by_name = series("ofen-7-bbbbb", &[("instance", "ofen-7-bbbbb"), ("job", "monitor")]);
        let other = series("ofen-7-ccccc", &[("instance", "ofen-7-ccccc"), ("job", "monitor")]);
        let said = at_several_addresses(&[one, by_name, other]).expect("a warning");
        let says = "the series of pod ofen-7-bbbbb are read at 2 addresses: 10.0.0.3:80 (job ofen), ofen-7-bbbbb (job monitor). ";
        assert!(said.starts_with(says), "{said}");
    }

    #[test]
    fn a_job_with_two_services_of_the_same_pods_reads_them_twice() {
        let by = PodLabels::default().copy();
        let read = |job| series("ofen-7-bbbbb", &[("instance", "10.0.0.3:80"), ("job", job)]);
        let target =
            |job, service| series("ofen-7-bbbbb", &[("instance", "10.0.0.3:80"), ("job", job), ("service", service)]);
        let said = |read: &[Series], targets: &[Series]| twice_by_one_job(read, targets, &by);
        let jobs = [target("a", "ofen"), target("b", "ofen-headless")];
        assert_eq!(said(&[read("a"), read("b")], &jobs), None, "several jobs read the same");
        assert_eq!(said(&[read("a")], &[]), None, "what was pushed has no targets");
        let said = said(&[read("a")], &[target("a", "ofen"), target("a", "ofen-headless")]).expect("a warning");
        let says = "pod ofen-7-bbbbb is read 2 times over by one job; what is read differs in service (ofen, ofen-headless) alone.";
        assert!(said.starts_with(says), "{said}");
    }
}
