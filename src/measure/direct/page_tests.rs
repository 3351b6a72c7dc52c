#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pod that does this with every connection, and how many it had.
struct Pod {
    url: Url,
    connections: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Pod {
    async fn serving<F: Future<Output = ()> + Send + 'static>(
        answer: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap()).parse().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, mut server) = (Arc::clone(&connections), JoinSet::new());
        server.spawn(async move {
            let mut answers = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                answers.spawn(answer(stream));
            }
        });
        Self { url, connections, _server: server }
    }

    /// One that always answers with this.
    async fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = Arc::<[u8]>::from(response.into());
        Self::serving(move |mut stream| {
            let response = Arc::clone(&response);
            async move {
                let _ = stream.write_all(&response).await;
            }
        })
        .await
    }
}

fn reader(limits: &str) -> PageReader {
    PageReader::new(serde_norway::from_str(limits).unwrap(), Arc::new(())).unwrap()
}

async fn read(pod: &Pod, limits: &str) -> Result<Page, Failure> {
    reader(limits).read(&pod.url, Instant::now() + PATIENCE).await
}

async fn refused(pod: &Pod, limits: &str) -> (Missing, String) {
    let failure = read(pod, limits).await.unwrap_err();
    (failure.why, failure.message.to_string())
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn a_page_is_read_whole_however_it_is_framed() {
    let chunked = ok("Transfer-Encoding: chunked\r\n", "4\r\nup 1\r\n3\r\n\nb \r\n1\r\n2\r\n0\r\n\r\n");
    let page = read(&Pod::answering(chunked).await, "{}").await.unwrap();
    assert_eq!(page, Page { text: "up 1\nb 2".to_owned(), format: Format::Prometheus });

    let measured =
        ok("Content-Length: 11\r\nContent-Type: application/openmetrics-text; version=1.0.0\r\n", "up 1\n# EOF\n");
    let page = read(&Pod::answering(measured).await, "{}").await.unwrap();
    assert_eq!((page.text.as_str(), page.format), ("up 1\n# EOF\n", Format::OpenMetrics));

    let closed = ok("", "up 1\n");
    assert_eq!(read(&Pod::answering(closed).await, "{}").await.unwrap().text, "up 1\n");
}

#[tokio::test]
async fn a_page_that_was_cut_off_is_not_taken_for_a_smaller_number() {
    let unframed = Pod::answering(ok("", "requests_total 123")).await;
    assert!(refused(&unframed, "{}").await.1.contains("cut off"));
    let short = Pod::answering(ok("Content-Length: 99\r\n", "requests_total 123\n")).await;
    assert_eq!(refused(&short, "{}").await.0, Missing::Unreachable);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone: SocketAddr = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{gone}/metrics").parse().unwrap();
    let failure = reader("{}").read(&url, Instant::now() + PATIENCE).await.unwrap_err();
    assert_eq!((failure.why, &*failure.message), (Missing::Unreachable, "it cannot be connected to"));
}

#[tokio::test]
async fn a_pod_that_never_answers_or_never_ends_costs_its_timeout_and_no_more() {
    let mute = Pod::serving(|stream| async move {
        sleep(PATIENCE).await;
        drop(stream);
    })
    .await;
    let (why, message) = refused(&mute, "{timeout: 300ms}").await;
    assert_eq!((why, message.as_str()), (Missing::TimedOut, "no whole answer within 300ms"));

    let dripping = Pod::serving(|mut stream| async move {
        let _ = stream.write_all(ok("", "").as_bytes()).await;
        while stream.write_all(b"a").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(refused(&dripping, "{timeout: 300ms}").await.0, Missing::TimedOut);

    // A look that is over ends it, too.
    let soon = Instant::now() + Duration::from_millis(100);
    let failure = reader("{timeout: 5m}").read(&mute.url, soon).await.unwrap_err();
    assert_eq!((failure.why, &*failure.message), (Missing::TimedOut, "no whole answer before the next look was due"));
}

#[tokio::test]
async fn an_endless_page_is_read_up_to_the_limit() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let endless = Pod::serving(move |mut stream| {
        let sent = Arc::clone(&counted);
        async move {
            let _ = stream.write_all(ok("", "").as_bytes()).await;
            while stream.write_all(&[b'a'; 8192]).await.is_ok() {
                sent.fetch_add(8192, Ordering::Relaxed);
            }
        }
    })
    .await;
    let (why, message) = refused(&endless, "{timeout: 1m, maxResponseBytes: 64Ki}").await;
    assert_eq!(why, Missing::QueryFailed);
    assert!(message.contains("larger than 65536 bytes; raise podEvidence.maxResponseBytes"), "{message}");
    // What lies in the buffers of the connection was sent as well.
    assert!(sent.load(Ordering::Relaxed) < 64 << 20);

    let announced = Pod::answering(ok("Content-Length: 99999999999999\r\n", "")).await;
    assert_ne!(refused(&announced, "{}").await.0, Missing::NoSeries);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Pod::answering(ok("Content-Length: 5\r\n", "up 1\n")).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url);
    let (why, message) = refused(&Pod::answering(redirect).await, "{}").await;
    assert_eq!(why, Missing::QueryFailed);
    assert!(message.contains("redirects are not followed") && !message.contains(elsewhere.url.as_str()), "{message}");
    assert_eq!(elsewhere.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn garbage_is_a_failed_read_and_is_not_repeated() {
    for garbage in ["secret\r\n\r\n", "\0\0\0", "HTTP/9.9 secret\r\n\r\n"] {
        let (why, message) = refused(&Pod::answering(garbage).await, "{}").await;
        assert_eq!(why, Missing::Unreachable, "{garbage:?}");
        assert!(!message.contains("secret"), "{message}");
    }
    let error = Pod::answering("HTTP/1.1 503 secret\r\nContent-Length: 6\r\n\r\nsecret").await;
    assert_eq!(refused(&error, "{}").await, (Missing::QueryFailed, "HTTP 503 Service Unavailable".to_owned()));
    let binary = [ok("Content-Length: 2\r\n", "").into_bytes(), vec![0xff, 0xfe]].concat();
    assert_eq!(refused(&Pod::answering(binary).await, "{}").await.1, "the page is no text");
}

#[tokio::test]
async fn no_more_pages_are_read_at_once_than_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&now), Arc::clone(&most));
    let slow = Pod::serving(move |mut stream| {
        let (now, most) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            let _ = stream.write_all(ok("Content-Length: 5\r\n", "up 1\n").as_bytes()).await;
        }
    })
    .await;
    let reader = reader("{concurrency: 3, timeout: 1m}");
    let reads = (0..12).map(|_| reader.read(&slow.url, Instant::now() + PATIENCE));
    assert!(futures::future::join_all(reads).await.iter().all(Result::is_ok));
    assert!(most.load(Ordering::Relaxed) <= 3);
    assert_eq!(slow.connections.load(Ordering::Relaxed), 12, "each on a connection of its own");
}

#[derive(Default)]
struct Told(Mutex<Vec<Result<(), Missing>>>);

impl PageObserver for Told {
    fn read(&self, outcome: Result<(), Missing>) {
        self.0.lock().unwrap().push(outcome);
    }
}

#[tokio::test]
async fn every_read_is_told() {
    let told = Arc::new(Told::default());
    let reader = PageReader::new(serde_norway::from_str("{}").unwrap(), told.clone()).unwrap();
    let good = Pod::answering(ok("Content-Length: 5\r\n", "up 1\n")).await;
    let bad = Pod::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    for pod in [&good, &bad] {
        let _ = reader.read(&pod.url, Instant::now() + PATIENCE).await;
    }
    assert_eq!(*told.0.lock().unwrap(), [Ok(()), Err(Missing::QueryFailed)]);
}
