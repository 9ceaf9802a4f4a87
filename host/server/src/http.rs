use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Error;

/// So many connections at once; whoever comes later waits in the kernel's queue.
const AT_ONCE: usize = 32;

/// Whoever has not sent the head of a request by then is not waited for.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection lives, which is for one request: whoever does not read its answer keeps nobody else waiting for longer.
const CONNECTION: Duration = Duration::from_secs(15);

/// What there is to say. `Ok` is 200, `Err` is 503; both with words for people.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// Whether the process does its work. One that does not is to be started again.
    ///
    /// # Errors
    /// It does not; why.
    fn alive(&self) -> Result<String, String>;

    /// Whether rotations run. One that does not may need a person, and starting it again is of no use.
    ///
    /// # Errors
    /// It rotates nothing; why.
    fn ready(&self) -> Result<String, String>;

    /// The metrics, and their media type.
    ///
    /// # Errors
    /// They cannot be counted; why.
    async fn metrics(&self) -> Result<(String, &'static str), String>;
}

/// `/healthz`, `/readyz` and `/metrics` on a loopback address. Nobody is asked who they are: nothing there is a secret, and nothing can be changed.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
}

impl Http {
    /// Listens at an address.
    ///
    /// # Errors
    /// [`Error::Http`].
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).await;
        Ok(Self {
            listener: listener.map_err(|source| Error::Http { address, source })?,
        })
    }

    /// Answers until it is dropped.
    pub async fn serve(self, answers: Arc<dyn Answers>) {
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(answers);
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let router = router.clone();
                    connections.spawn(async move {
                        // Until it is over: its place is taken.
                        let _place = place;
                        // A peer that has gone away is nobody's fault.
                        let _ = tokio::time::timeout(CONNECTION, answer(stream, router)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) -> Result<(), hyper::Error> {
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}

type Answering = State<Arc<dyn Answers>>;

async fn healthz(State(answers): Answering) -> Response {
    words(answers.alive())
}

async fn readyz(State(answers): Answering) -> Response {
    words(answers.ready())
}

async fn metrics(State(answers): Answering) -> Response {
    match answers.metrics().await {
        Ok((text, media_type)) => ([(header::CONTENT_TYPE, media_type)], text).into_response(),
        Err(why) => words(Err(why)),
    }
}

fn words(said: Result<String, String>) -> Response {
    match said {
        Ok(words) => (StatusCode::OK, words + "\n"),
        Err(words) => (StatusCode::SERVICE_UNAVAILABLE, words + "\n"),
    }
    .into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Sealed;

    #[async_trait]
    impl Answers for Sealed {
        fn alive(&self) -> Result<String, String> {
            Ok("ok".to_owned())
        }

        fn ready(&self) -> Result<String, String> {
            Err("the vault is sealed".to_owned())
        }

        async fn metrics(&self) -> Result<(String, &'static str), String> {
            Ok(("# EOF\n".to_owned(), "text/plain"))
        }
    }

    async fn asked(request: &str) -> String {
        let http = Http::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = http.listener.local_addr().unwrap();
        let serving = tokio::spawn(http.serve(Arc::new(Sealed)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        answer
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    }

    #[tokio::test]
    async fn each_question_has_its_status_and_its_words() {
        for (request, status, words) in [
            (get("/healthz"), "200", "ok\n"),
            (get("/readyz"), "503", "the vault is sealed\n"),
            (get("/metrics"), "200", "# EOF\n"),
            (get("/else"), "404", ""),
            (get("/healthz").replace("GET", "POST"), "405", ""),
            ("nonsense\r\n\r\n".to_owned(), "400", ""),
            (get(&format!("/{}", "a".repeat(60_000))), "431", ""),
        ] {
            let answer = asked(&request).await;
            let head = format!("HTTP/1.1 {status} ");
            assert!(
                answer.starts_with(&head),
                "{}: {answer}",
                &request[..20.min(request.len())]
            );
            assert!(answer.ends_with(words), "{answer}");
        }
    }

    /// Else one who asks for ever and reads nothing would have its place for as long.
    #[tokio::test]
    async fn a_connection_is_for_one_request() {
        let twice = get("/healthz").replace("Connection: close\r\n", "").repeat(2);
        let answer = asked(&twice).await;
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 1, "{answer}");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let first = Http::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = first.listener.local_addr().unwrap();
        let error = Http::bind(address).await.unwrap_err();
        assert_eq!(error.code(), "http.listen");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
