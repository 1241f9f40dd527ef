//! An issuer of tokens: its keys, and the JWK set it publishes over HTTP.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use x509_cert::{der::Decode as _, spki::SubjectPublicKeyInfoRef};

use crate::support::{free_port, run};

/// `iss` of its tokens.
pub(super) const ISSUER: &str = "https://idp.example";
/// `aud` of its tokens.
pub(super) const AUDIENCE: &str = "pgwicket";

/// A key pair, made and used by the `openssl` program: another implementation than the one under test.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) id: String,
    algorithm: &'static str,
    private: PathBuf,
    public: Value,
}

impl Key {
    /// A key for RS256, ES256 or `EdDSA`.
    pub(super) fn make(directory: &Path, id: &str, algorithm: &'static str) -> Self {
        let private = directory.join(format!("{id}.pem"));
        let options: &[&str] = match algorithm {
            "RS256" => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "ES256" => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            _ => &["-algorithm", "ED25519"],
        };
        run(Command::new("openssl").arg("genpkey").args(options).arg("-out").arg(&private)).ok();
        let der = Command::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&private).output().unwrap().stdout;
        let key = SubjectPublicKeyInfoRef::from_der(&der).unwrap().subject_public_key.raw_bytes().to_vec();
        let part = |bytes: &[u8]| BASE64.encode(bytes);
        let mut public = match algorithm {
            "RS256" => {
                // SEQUENCE { modulus INTEGER, exponent INTEGER }: 4 + 4 bytes of headers, a zero byte, 256 bytes, then 65537.
                json!({ "kty": "RSA", "n": part(&key[9..265]), "e": part(&key[key.len() - 3..]) })
            }
            "ES256" => json!({ "kty": "EC", "crv": "P-256", "x": part(&key[1..33]), "y": part(&key[33..65]) }),
            _ => json!({ "kty": "OKP", "crv": "Ed25519", "x": part(&key) }),
        };
        public["kid"] = id.into();
        public["use"] = "sig".into();
        Self { id: id.to_owned(), algorithm, private, public }
    }

    /// A token with these claims.
    pub(super) fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm, "kid": self.id, "typ": "JWT" });
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let (input, output) = (self.private.with_extension("in"), self.private.with_extension("out"));
        std::fs::write(&input, &message).unwrap();
        let mut command = Command::new("openssl");
        command.args(["pkeyutl", "-sign", "-inkey"]).arg(&self.private).arg("-in").arg(&input).arg("-out").arg(&output).arg("-rawin");
        if self.algorithm != "EdDSA" {
            command.args(["-digest", "sha256"]);
        }
        run(&mut command).ok();
        let signature = std::fs::read(&output).unwrap();
        let signature = if self.algorithm == "ES256" { fixed(&signature) } else { signature };
        format!("{message}.{}", BASE64.encode(signature))
    }
}

/// DER's two integers as JOSE's 32 bytes each (RFC 7518, 3.4).
fn fixed(der: &[u8]) -> Vec<u8> {
    let integer = |at: usize| {
        let length = usize::from(der[at + 1]);
        let bytes = &der[at + 2..at + 2 + length];
        let bytes = &bytes[bytes.len().saturating_sub(32)..];
        ([vec![0; 32 - bytes.len()], bytes.to_vec()].concat(), at + 2 + length)
    };
    let (first, after) = integer(2);
    [first, integer(after).0].concat()
}

/// The usual claims, with changes.
pub(super) fn claims(changes: &[(&str, Value)]) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "ada@example", "iat": now, "exp": now + 300, "org": "acme" });
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    claims
}

/// Publishes a JWK set; what it holds may be changed.
#[derive(Debug)]
pub(super) struct Published {
    set: Arc<Mutex<Option<Value>>>,
    reads: Arc<AtomicUsize>,
    port: u16,
}

impl Published {
    pub(super) fn start(keys: &[&Key]) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let published = Self { set: Arc::default(), reads: Arc::default(), port };
        published.publish(keys);
        let (set, reads) = (Arc::clone(&published.set), Arc::clone(&published.reads));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                drop(stream.read(&mut [0; 4096]));
                reads.fetch_add(1, Ordering::Relaxed);
                let (status, body) = match &*set.lock().unwrap() {
                    Some(set) => ("200 OK", set.to_string()),
                    None => ("503 Service Unavailable", String::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                drop(stream.write_all((head + &body).as_bytes()));
            }
        });
        published
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/jwks.json", self.port)
    }

    /// From now on these.
    pub(super) fn publish(&self, keys: &[&Key]) {
        *self.set.lock().unwrap() = Some(json!({ "keys": keys.iter().map(|key| &key.public).collect::<Vec<_>>() }));
    }

    /// From now on nothing.
    pub(super) fn withdraw(&self) {
        *self.set.lock().unwrap() = None;
    }

    /// How often it was read.
    pub(super) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}
