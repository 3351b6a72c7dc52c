//! Where a pod exposes its metrics. Pure.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::Url;

use crate::policy::{PodPages, Port};
use crate::watch::pod::ServingPod;

/// Ports of containers that are taken for the one of the metrics where nobody says which it is.
const PORT_NAMES: [&str; 2] = ["metrics", "http-metrics"];

/// Where metrics are by convention.
const PATH: &str = "/metrics";

/// A pod to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub pod: Arc<str>,
    /// It was seen to become Ready since its rollout is read: what it counts, it counts from zero. What another one counted
    /// before it was first read is not known.
    pub from_zero: bool,
    /// Its page, or why that cannot be read.
    pub page: Result<Url, Arc<str>>,
}

/// The page of a pod's metrics: as the policy says, else as its annotations `prometheus.io/port` and `prometheus.io/path` say,
/// else at a container's port named `metrics` or `http-metrics`. It is always the pod's own address.
///
/// # Errors
/// When nothing says where, or it cannot be there: what to write.
pub fn page_of(pod: &ServingPod, pages: &PodPages) -> Result<Url, String> {
    let annotation = |name: &str| pod.annotations.get(name).map(String::as_str);
    if pod.on_host_network {
        return Err("it is on its node's network and has no address of its own; write evidence: Prometheus".to_owned());
    }
    if let Some(scheme) = annotation("scheme").filter(|scheme| *scheme != "http") {
        return Err(format!(
            "its annotation prometheus.io/scheme is {scheme:?}, and only http is read; expose its metrics by http, or \
             write evidence: Prometheus"
        ));
    }
    let named = |name: &str| pod.ports.get(name).copied();
    let port = match &pages.port {
        Some(Port::Number(number)) => *number,
        Some(Port::Name(name)) => named(name)
            .ok_or_else(|| format!("none of its containers has a port named {name:?}, which pods.port says"))?,
        None => match annotation("port") {
            Some(text) => text.trim().parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                format!("its annotation prometheus.io/port is {text:?}; write a number, for example \"8080\"")
            })?,
            None => PORT_NAMES.into_iter().find_map(named).ok_or(
                "nothing says at which port its metrics are; write pods.port in the policy, the annotation \
                 prometheus.io/port in the pod template, or name a container's port metrics",
            )?,
        },
    };
    let path = pages.path.as_deref().or_else(|| annotation("path").filter(|path| !path.is_empty())).unwrap_or(PATH);
    if !path.starts_with('/') {
        return Err(format!("its annotation prometheus.io/path is {path:?}; write a path that begins with a slash"));
    }
    let address = SocketAddr::new(pod.ip, port);
    let mut url =
        Url::parse(&format!("http://{address}")).map_err(|error| format!("its address {address}: {error}"))?;
    // Set apart from the address, whatever is in it cannot lead to another one.
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(path);
    url.set_query(query);
    Ok(url)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn pod(annotations: &[(&str, &str)], ports: &[(&str, u16)]) -> ServingPod {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        ServingPod {
            name: "rübe-x7".to_owned(),
            uid: "u9".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            ip: IpAddr::from([10, 1, 2, 3]),
            on_host_network: false,
            annotations: annotations.iter().map(text).collect(),
            ports: ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect::<BTreeMap<_, _>>(),
        }
    }

    fn url(pod: &ServingPod, port: Option<Port>, path: Option<&str>) -> Result<String, String> {
        page_of(pod, &PodPages { port, path: path.map(ToOwned::to_owned) }).map(|url| url.to_string())
    }

    #[test]
    fn annotations_say_where_the_page_is() {
        let annotated = pod(&[("port", "9102"), ("path", "/actuator/prometheus?all=1"), ("scrape", "true")], &[]);
        assert_eq!(url(&annotated, None, None), Ok("http://10.1.2.3:9102/actuator/prometheus?all=1".to_owned()));
        assert_eq!(url(&pod(&[("port", "9102")], &[]), None, None), Ok("http://10.1.2.3:9102/metrics".to_owned()));
    }

    #[test]
    fn the_policy_knows_better() {
        let annotated = pod(&[("port", "9102"), ("path", "/m")], &[("admin", 8081), ("metrics", 1)]);
        let at = |port| url(&annotated, Some(port), Some("/p"));
        assert_eq!(at(Port::Number(7)), Ok("http://10.1.2.3:7/p".to_owned()));
        assert_eq!(at(Port::Name("admin".to_owned())), Ok("http://10.1.2.3:8081/p".to_owned()));
        let error = at(Port::Name("odd".to_owned())).unwrap_err();
        assert!(error.contains("no port named \"odd\"") || error.contains("a port named \"odd\""), "{error}");
    }

    #[test]
    fn a_port_named_metrics_is_the_one_where_nobody_says_which() {
        let named = pod(&[], &[("http", 8080), ("http-metrics", 9100)]);
        assert_eq!(url(&named, None, None), Ok("http://10.1.2.3:9100/metrics".to_owned()));
        let error = url(&pod(&[], &[("http", 8080)]), None, None).unwrap_err();
        assert!(error.contains("write pods.port in the policy"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_says_what_to_write() {
        let refused = |annotations: &[(&str, &str)]| url(&pod(annotations, &[]), None, None).unwrap_err();
        assert!(refused(&[("port", "metrics")]).contains("write a number"));
        assert!(refused(&[("port", "0")]).contains("write a number"));
        assert!(refused(&[("port", "70000")]).contains("write a number"));
        assert!(refused(&[("port", "1"), ("path", "metrics")]).contains("begins with a slash"));
        assert!(refused(&[("port", "1"), ("scheme", "https")]).contains("only http is read"));
        let on_node = ServingPod { on_host_network: true, ..pod(&[("port", "1")], &[]) };
        assert!(url(&on_node, None, None).unwrap_err().contains("on its node's network"));
    }

    #[test]
    fn an_address_of_the_newer_kind_is_written_in_brackets() {
        let newer = ServingPod { ip: "fd00::7".parse().unwrap(), ..pod(&[("port", "9")], &[]) };
        assert_eq!(url(&newer, None, None), Ok("http://[fd00::7]:9/metrics".to_owned()));
    }

    proptest! {
        #[test]
        fn no_path_leads_away_from_the_pod(path in "/?[/@:?#\\\\.%a-c0-9\\[\\]]{0,16}|\\PC{0,12}", port in 1_u16..) {
            let annotated = pod(&[("port", &port.to_string()), ("path", &path)], &[]);
            if let Ok(url) = page_of(&annotated, &PodPages::default()) {
                prop_assert_eq!(url.host_str(), Some("10.1.2.3"));
                prop_assert_eq!(url.port_or_known_default(), Some(port));
                prop_assert_eq!((url.scheme(), url.username(), url.password()), ("http", "", None));
            }
        }
    }
}
