//! The proxy between a real client and a small upstream that always finds two series.

use axum::routing::{any, get};
use serde_json::{Value, json};

use super::*;

const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
    {"metric":{"pod":"a"},"value":[1,"10"]},{"metric":{"pod":"b"},"value":[1,"20"]}]}}"#;

struct Bench {
    proxy: FaultProxy,
    client: Client,
    _upstream: JoinSet<()>,
}

impl Bench {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let json = [(header::CONTENT_TYPE, "application/json")];
        let router = Router::new()
            .route("/api/v1/query", any(async move || (json, VECTOR)))
            .route("/-/ready", get(async || "ready"));
        let mut upstream = JoinSet::new();
        upstream.spawn(async move { axum::serve(listener, router).await.expect("to serve") });
        Self {
            proxy: FaultProxy::start(&url).await.expect("a proxy"),
            client: crate::http::client().expect("a client"),
            _upstream: upstream,
        }
    }

    async fn get(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        self.client.get(format!("{}{path}", self.proxy.url())).send().await
    }

    async fn query(&self) -> Value {
        let answer = self.get("/api/v1/query?query=up").await.expect("an answer");
        answer.json().await.expect("JSON")
    }
}

#[tokio::test]
async fn without_a_fault_the_answer_is_upstreams() {
    let bench = Bench::new().await;
    let expected: Value = serde_json::from_str(VECTOR).expect("JSON");
    assert_eq!(bench.query().await, expected);
    let ready = bench.get("/-/ready").await.expect("an answer").text().await;
    assert_eq!(ready.expect("text"), "ready");
}

#[tokio::test]
async fn queries_are_recorded_whether_in_the_url_or_in_a_form() {
    let bench = Bench::new().await;
    bench.get("/api/v1/query?query=sum(up%7Ba%3D%22b%22%7D)&time=5").await.expect("an answer");
    let url = format!("{}/api/v1/query", bench.proxy.url());
    let form = bench.client.post(url).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    form.body("query=rate(x%5B1m%5D)").send().await.expect("an answer");
    bench.get("/-/ready").await.expect("an answer");

    assert_eq!(bench.proxy.queries(), [r#"sum(up{a="b"})"#, "rate(x[1m])"]);
    assert_eq!(bench.proxy.requests()[0].parameter("time"), Some("5"));
    let counts = bench.proxy.counts();
    assert_eq!((counts["/api/v1/query"], counts["/-/ready"]), (2, 1));
    bench.proxy.clear();
    assert!(bench.proxy.requests().is_empty());
}

#[tokio::test]
async fn a_cut_connection_gives_no_answer_at_all_and_the_next_request_may_pass_again() {
    let bench = Bench::new().await;
    bench.query().await;
    bench.proxy.set(Fault::Cut);
    let error = bench.get("/api/v1/query?query=up").await.expect_err("no answer");
    assert!(error.is_request() && error.status().is_none(), "{error:?}");
    bench.proxy.set(Fault::Pass);
    bench.query().await;
    assert_eq!(bench.proxy.requests()[1].fault, Fault::Cut);
}

#[tokio::test]
async fn a_status_is_answered_in_the_form_of_the_api() {
    let bench = Bench::new().await;
    bench.proxy.set(Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    let answer = bench.get("/api/v1/query?query=up").await.expect("an answer");
    assert_eq!(answer.status(), 503);
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["status"], "error");
}

#[tokio::test]
async fn garbage_is_no_json_although_it_says_so() {
    let bench = Bench::new().await;
    bench.proxy.set(Fault::Garbage);
    let answer = bench.get("/api/v1/query?query=up").await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    assert!(answer.json::<Value>().await.is_err());
}

#[tokio::test]
async fn results_are_changed_on_the_way_back() {
    let bench = Bench::new().await;
    bench.proxy.set(Fault::NaN);
    assert_eq!(bench.query().await["data"]["result"][0]["value"], json!([1, "NaN"]));
    bench.proxy.set(Fault::Empty);
    assert_eq!(bench.query().await["data"]["result"], json!([]));
    bench.proxy.set(Fault::Partial);
    let partial = bench.query().await;
    assert_eq!(partial["data"]["result"].as_array().map(Vec::len), Some(1));
    assert!(partial["warnings"][0].is_string());
}

#[tokio::test]
async fn a_delayed_answer_comes_late_but_right() {
    let bench = Bench::new().await;
    bench.proxy.set(Fault::Delay(Duration::from_millis(300)));
    let asked = Instant::now();
    assert_eq!(bench.query().await["status"], "success");
    assert!(asked.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn an_upstream_that_does_not_run_is_a_bad_gateway() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let proxy = FaultProxy::start(&url).await.expect("a proxy");
    let client = crate::http::client().expect("a client");
    let url = format!("{}/api/v1/query", proxy.url());
    let answer = client.get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 502);
}
