#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::config::OperatorConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::matchers::{body_string_contains, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

type Query = (String, QueryKind, Result<(), Missing>);

/// What an observer was told.
#[derive(Default)]
struct Told(Mutex<Vec<Query>>);

impl QueryObserver for Told {
    fn queried(&self, endpoint: &str, kind: QueryKind, _: Duration, outcome: Result<(), Missing>) {
        self.0.lock().unwrap().push((endpoint.to_owned(), kind, outcome));
    }
}

fn endpoint(url: &str, more: &str) -> Endpoint {
    let text = format!("prometheus: {{default: {{url: '{url}', {more}}}}}");
    OperatorConfig::parse(Path::new("test"), &text).unwrap().prometheus.remove("default").unwrap()
}

fn client(url: &str, more: &str) -> PrometheusClient {
    PrometheusClient::new("default", endpoint(url, more), Arc::new(())).unwrap()
}

async fn ask(client: &PrometheusClient) -> Result<Vec<Series>, Failure> {
    client.instant("up", Timestamp::from_second(1_700_000_000).unwrap()).await
}

async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any()).respond_with(answer).mount(&server).await;
    server
}

fn empty() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(EMPTY, "application/json")
}

#[tokio::test]
async fn a_query_says_when_and_how_long_below_the_endpoints_path() {
    let server = MockServer::start().await;
    let expected = Mock::given(method("GET"))
        .and(path("/prom/api/v1/query"))
        .and(query_param("query", "up"))
        .and(query_param("time", "1700000000"))
        .and(query_param("timeout", "700ms"))
        .and(header("x-scope-orgid", "payments"));
    expected.respond_with(empty()).expect(1).mount(&server).await;
    let client = client(&format!("{}/prom/", server.uri()), "timeout: 700ms, headers: {X-Scope-OrgID: payments}");
    assert_eq!(ask(&client).await, Ok(vec![]));
}

#[tokio::test]
async fn a_server_of_many_stores_is_asked_for_all_or_nothing_where_the_configuration_says_so() {
    let server = MockServer::start().await;
    let whole = |verb: &str| Mock::given(method(verb)).and(header("x-scope-orgid", "payments"));
    let instant =
        whole("GET").and(query_param("partial_response", "false")).and(query_param("deny_partial_response", "1"));
    instant.respond_with(empty()).expect(1).mount(&server).await;
    let range = whole("POST").and(body_string_contains("partial_response=false&deny_partial_response=1"));
    range.respond_with(empty()).expect(1).mount(&server).await;
    let client = client(&server.uri(), "partialResponse: false, headers: {X-Scope-OrgID: payments}");
    assert_eq!(ask(&client).await, Ok(vec![]));
    let (start, end) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(21).unwrap());
    assert_eq!(client.range(&"up".repeat(1000), start, end, Duration::from_secs(10)).await, Ok(vec![]));
}

#[tokio::test]
async fn an_answer_that_lacks_a_store_is_partial() {
    let data = r#""status":"success","data":{"resultType":"vector","result":[{"metric":{"pod":"a"},"value":[1,"3"]}]}"#;
    for sign in [r#""warnings":["No StoreAPIs matched for this query"]"#, r#""isPartial":true"#] {
        let server = answering(ResponseTemplate::new(200).set_body_string(format!("{{{data},{sign}}}"))).await;
        assert_eq!(ask(&client(&server.uri(), "")).await.unwrap_err().why, Missing::Partial, "{sign}");
    }
}

#[tokio::test]
async fn namespace_and_pod_are_read_from_the_labels_of_the_endpoint() {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"ns":"shop","kubernetes_pod_name":"a"},"value":[1,"3"]}]}}"#;
    let server = answering(ResponseTemplate::new(200).set_body_string(body)).await;
    let series = ask(&client(&server.uri(), "podLabel: kubernetes_pod_name, namespaceLabel: ns")).await.unwrap();
    assert_eq!((series[0].namespace.as_str(), series[0].pod.as_str()), ("shop", "a"));
}

#[tokio::test]
async fn a_long_query_goes_in_the_body() {
    let server = MockServer::start().await;
    let expected = Mock::given(method("POST"))
        .and(path("/api/v1/query_range"))
        .and(body_string_contains("start=1&end=21&step=10&timeout=5000ms"));
    expected.respond_with(empty()).expect(1).mount(&server).await;
    let (start, end) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(21).unwrap());
    let query = "up".repeat(1000);
    let answer = client(&server.uri(), "").range(&query, start, end, Duration::from_secs(10)).await;
    assert_eq!(answer, Ok(vec![]));
}

#[tokio::test]
async fn faults_are_told_apart_and_name_the_endpoint() {
    for (answer, why, says) in [
        (ResponseTemplate::new(400).set_body_string("no"), Missing::QueryFailed, "HTTP 400"),
        (ResponseTemplate::new(500), Missing::QueryFailed, "HTTP 500"),
        (ResponseTemplate::new(200).set_body_string("<html>"), Missing::QueryFailed, "check the endpoint's url"),
        (
            ResponseTemplate::new(302).insert_header("location", "https://login.example.com/"),
            Missing::QueryFailed,
            "it leads to https://login.example.com/: write the final address",
        ),
        (empty().set_delay(Duration::from_secs(5)), Missing::TimedOut, "timed out"),
        (
            ResponseTemplate::new(200).set_body_string(EMPTY.replace("}}", r#"},"warnings":["store down"]}"#)),
            Missing::Partial,
            "store down",
        ),
        (
            ResponseTemplate::new(200).set_body_bytes(vec![b' '; 70_000]),
            Missing::QueryFailed,
            "larger than 65536 bytes",
        ),
    ] {
        let server = answering(answer).await;
        let failure = ask(&client(&server.uri(), "timeout: 300ms, maxResponseBytes: 64Ki")).await.unwrap_err();
        assert_eq!(failure.why, why, "{failure}");
        assert!(
            failure.message.starts_with("Prometheus endpoint default: ") && failure.message.contains(says),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_hangs_up_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = client(&url, "timeout: 2s");
    let hang_up = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 4096]).await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    });
    let failure = ask(&client).await.unwrap_err();
    assert_eq!(failure.why, Missing::Unreachable, "{failure}");
    hang_up.await.unwrap();
    let failure = ask(&client).await.unwrap_err();
    assert_eq!(failure.why, Missing::Unreachable);
    assert!(failure.message.contains("cannot connect") && !failure.message.contains("query="), "{failure}");
}

#[tokio::test]
async fn no_more_queries_at_once_than_allowed() {
    let server = answering(empty().set_delay(Duration::from_millis(100))).await;
    let client = client(&server.uri(), "concurrency: 2");
    let begun = std::time::Instant::now();
    let asks = futures::future::join_all((0..6).map(|_| ask(&client))).await;
    assert!(asks.iter().all(Result::is_ok));
    assert!(begun.elapsed() >= Duration::from_millis(300), "three rounds of two");
}

#[tokio::test]
async fn the_observer_hears_of_every_query_also_of_one_that_is_given_up() {
    let server = answering(empty().set_delay(Duration::from_millis(200))).await;
    let told = Arc::new(Told::default());
    let client = PrometheusClient::new("eu", endpoint(&server.uri(), ""), told.clone()).unwrap();
    ask(&client).await.unwrap();
    tokio::time::timeout(Duration::from_millis(20), ask(&client)).await.unwrap_err();
    let expected = [Ok(()), Err(Missing::TimedOut)].map(|outcome| ("eu".to_owned(), QueryKind::Instant, outcome));
    assert_eq!(*told.0.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_token_is_sent_and_read_again_once_it_is_refused() {
    let server = MockServer::start().await;
    let with = |token: &str| Mock::given(header("authorization", format!("Bearer {token}").as_str()));
    with("old").respond_with(ResponseTemplate::new(401)).mount(&server).await;
    with("new").respond_with(empty()).mount(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let client = client(&server.uri(), &format!("bearerTokenFile: {}", file.display()));
    std::fs::write(&file, "new\n").unwrap();
    assert_eq!(ask(&client).await.unwrap_err().why, Missing::QueryFailed, "the old one is still in use");
    assert_eq!(ask(&client).await, Ok(vec![]));
    std::fs::remove_file(&file).unwrap();
    client.session.lock().unwrap().until = Instant::now();
    assert_eq!(ask(&client).await, Ok(vec![]), "a file that is just being replaced stops nothing");
}

#[tokio::test]
async fn a_user_logs_in_with_the_password_of_a_file() {
    let server = MockServer::start().await;
    let login = wiremock::matchers::basic_auth("gatekeeper", "s3cret");
    Mock::given(login).respond_with(empty()).expect(1).mount(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    let more = format!("basicAuth: {{username: gatekeeper, passwordFile: {}}}", file.display());
    assert_eq!(ask(&client(&server.uri(), &more)).await, Ok(vec![]));
}

/// A server with a certificate for localhost that answers like the Kubernetes API and like Prometheus.
async fn https_server() -> (u16, rcgen::Certificate) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut request = [0; 4096];
            let length = socket.read(&mut request).await.unwrap();
            let version = r#"{"major":"1","minor":"36","gitVersion":"v1.36.3","gitCommit":"","gitTreeState":"","buildDate":"",
                "goVersion":"","compiler":"","platform":""}"#;
            let body = if request[..length].starts_with(b"GET /version ") { version } else { EMPTY };
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = socket.write_all((head + body).as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    (port, cert)
}

#[tokio::test]
async fn kubernetes_and_prometheus_are_reached_over_https_by_one_process() {
    let (port, certificate) = https_server().await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).unwrap();
    let url = format!("https://localhost:{port}");

    let prometheus = client(&url, &format!("caFile: {}", ca.display()));
    assert_eq!(ask(&prometheus).await, Ok(vec![]));
    let mut config = kube::Config::new(url.parse().unwrap());
    config.root_cert = Some(vec![certificate.der().to_vec()]);
    let kubernetes = kube::Client::try_from(config).unwrap();
    assert_eq!(kubernetes.apiserver_version().await.unwrap().minor, "36");

    let distrusting = client(&url, "");
    let failure = ask(&distrusting).await.unwrap_err();
    assert_eq!(failure.why, Missing::Unreachable);
    assert!(failure.message.contains("certificate"), "{failure}");
}

#[tokio::test]
async fn rules_are_asked_for_by_their_labels_below_the_endpoints_path_with_its_headers() {
    let server = MockServer::start().await;
    let expected = Mock::given(method("GET"))
        .and(path("/prom/api/v1/rules"))
        .and(query_param("type", "record"))
        .and(query_param("match[]", r#"{slo=~"a b|c"}"#))
        .and(query_param("partial_response", "false"))
        .and(header("x-scope-orgid", "payments"))
        .and(header("authorization", "Basic b3BlcmF0b3I6c2VjcmV0"));
    let list = r#"{"status":"success","data":{"groups":[{"rules":[
        {"type":"recording","name":"pyrra_objective","query":"0.99","labels":{"slo":"c"}}]}]}}"#;
    expected.respond_with(ResponseTemplate::new(200).set_body_string(list)).expect(1).mount(&server).await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let more = format!(
        "partialResponse: false, headers: {{X-Scope-OrgID: payments}}, basicAuth: {{username: operator, passwordFile: {}}}",
        secret.path().display()
    );
    let client = client(&format!("{}/prom/", server.uri()), &more);
    let rules = client.rules(&[r#"{slo=~"a b|c"}"#.to_owned()]).await.unwrap();
    assert_eq!((rules.len(), rules[0].record.as_str(), rules[0].label("slo")), (1, "pyrra_objective", "c"));
}
