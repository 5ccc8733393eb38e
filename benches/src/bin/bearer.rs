//! What issuing and checking an access token costs beside the bare cryptography, in one run: short rounds of ours and of the bare call
//! alternate, and what is printed is the median of the rounds' ratios, so that a noisy machine disturbs both alike. Prints Markdown.
//!
//! ```console
//! $ cargo run --release -p bmm-benches --bin bearer
//! ```

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bmm_oauth::{
    Algorithm, AsConfig, AuthorizationServer, BoxError, BoxFuture, FetchJwks, FetchRevocations, Issuer,
    JwksVerifier, MemoryStore, ResourceInfo, ResourceUri, Resources, RevocationFeed, Scopes, Session, SignIn,
    SigningKeys, Subject, User, Verifier as _, VerifyError,
};
use bytes::Bytes;
use clap::Parser;
use http::request::Parts;
use tokio::runtime::Runtime;

/// Command line.
#[derive(Parser)]
struct Args {
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 41)]
    rounds: usize,
    /// Calls in a round.
    #[arg(long, default_value_t = 200)]
    calls: usize,
}

/// Probe tokens live five minutes, which is more than a run takes.
const TTL: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bench = Bench::new(&runtime)?;
    println!("| what | ours | bare | ours by bare (speed) | required |");
    println!("|---|---|---|---|---|");
    bench.issue(&args)?.print(
        "issue an ES256 access token",
        "bare ES256 signature",
        "at least 0.4",
    );
    bench.uncached(&args)?.print(
        "check a token for the first time",
        "bare ES256 verification",
        "at least 0.8",
    );
    bench
        .cached(&args)?
        .print("check a token again", "bare ES256 verification", "at least 50");
    bench.unknown_kid(&args)?.print(
        "refuse an unknown key id",
        "refuse a known key id for its alg",
        "about 1",
    );
    bench
        .lookup(&args)?
        .print("refuse an unknown key id", "SHA-256 and one map lookup", "");
    Ok(())
}

/// Seconds for each call, ours and the bare one, round by round.
struct Rounds(Vec<(f64, f64)>);

impl Rounds {
    /// Alternates rounds; each closure gets the number of the round.
    fn alternate(
        args: &Args,
        mut ours: impl FnMut(usize) -> Result<()>,
        mut bare: impl FnMut(usize) -> Result<()>,
    ) -> Result<Self> {
        let mut rounds = Vec::with_capacity(args.rounds);
        for round in 0..args.rounds {
            // Whoever comes second finds the machine as the first left it: take turns.
            let (first, second);
            if round % 2 == 0 {
                first = timed(args, || ours(round))?;
                second = timed(args, || bare(round))?;
                rounds.push((first, second));
            } else {
                first = timed(args, || bare(round))?;
                second = timed(args, || ours(round))?;
                rounds.push((second, first));
            }
        }
        Ok(Self(rounds))
    }

    fn print(&self, what: &str, beside: &str, required: &str) {
        let column = |pick: fn(&(f64, f64)) -> f64| median(self.0.iter().map(pick).collect());
        println!(
            "| {what} | {} | {beside}: {} | {:.2} | {required} |",
            human(column(|(ours, _)| *ours)),
            human(column(|(_, bare)| *bare)),
            column(|(ours, bare)| bare / ours),
        );
    }
}

fn timed(args: &Args, mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    round()?;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let calls = args.calls as f64;
    Ok(start.elapsed().as_secs_f64() / calls)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn human(seconds: f64) -> String {
    if seconds < 1e-6 {
        format!("{:.0} ns", seconds * 1e9)
    } else {
        format!("{:.1} µs", seconds * 1e6)
    }
}

struct Bench<'a> {
    runtime: &'a Runtime,
    server: AuthorizationServer,
    resource: ResourceUri,
    scopes: Scopes,
    verifier: JwksVerifier,
    public: ParsedPublicKey,
    kid: String,
}

impl<'a> Bench<'a> {
    fn new(runtime: &'a Runtime) -> Result<Self> {
        let issuer: Issuer = "https://auth.example.com".parse()?;
        let resource: ResourceUri = "https://mcp.example.com/files/mcp".parse()?;
        let server = AuthorizationServer::new(
            AsConfig::new(issuer.clone()),
            MemoryStore::new(),
            SigningKeys::create(Algorithm::Es256)?,
            SignIn::session(Arc::new(Nobody)),
            Arc::new(Nothing),
        );
        let set = server.jwks();
        let jwk = set.pointer("/keys/0").context("a key")?;
        let member = |name: &str| jwk.get(name).and_then(|value| value.as_str()).context("a member");
        let point = [
            vec![4],
            URL_SAFE_NO_PAD.decode(member("x")?)?,
            URL_SAFE_NO_PAD.decode(member("y")?)?,
        ]
        .concat();
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)?;
        let kid = member("kid")?.to_owned();
        let bytes = Bytes::from(set.to_string());
        let fetch: FetchJwks = Arc::new(move || Box::pin(std::future::ready(Ok(bytes.clone()))));
        let feed = RevocationFeed::new(feed());
        runtime.spawn(feed.clone().follow());
        let verifier = JwksVerifier::new(issuer, resource.clone(), fetch).with_revocations(feed);
        let bench = Self {
            runtime,
            server,
            resource,
            scopes: Scopes::new(["mcp:read"])?,
            verifier,
            public,
            kid,
        };
        // Keys and feed are there before anything is timed.
        bench.check(&bench.mint())?;
        Ok(bench)
    }

    fn mint(&self) -> String {
        self.server.mint_probe_token(&self.resource, &self.scopes, TTL)
    }

    fn check(&self, token: &str) -> Result<()> {
        let verdict = self.runtime.block_on(self.verifier.verify(token));
        verdict.map(drop).context("a good token")
    }

    /// Tokens for `rounds` rounds, none of which was seen before.
    fn tokens(&self, args: &Args, rounds: usize) -> Vec<Vec<String>> {
        (0..rounds)
            .map(|_| (0..args.calls).map(|_| self.mint()).collect())
            .collect()
    }

    fn check_all(&self, tokens: &[String]) -> Result<()> {
        self.runtime.block_on(async {
            for token in tokens {
                black_box(self.verifier.verify(token).await?);
            }
            Ok(())
        })
    }

    fn refuse_all(&self, tokens: &[String], why: &str) -> Result<()> {
        self.runtime.block_on(async {
            for token in tokens {
                let verdict = self.verifier.verify(token).await;
                ensure!(
                    matches!(verdict, Err(VerifyError::Invalid(reason)) if reason == why),
                    "refused otherwise"
                );
            }
            Ok(())
        })
    }

    fn issue(&self, args: &Args) -> Result<Rounds> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let random = SystemRandom::new();
        let token = self.mint();
        let (message, _) = token.rsplit_once('.').context("a JWS")?;
        Rounds::alternate(
            args,
            |_| {
                for _ in 0..args.calls {
                    black_box(self.mint());
                }
                Ok(())
            },
            |_| {
                for _ in 0..args.calls {
                    black_box(key.sign(&random, message.as_bytes())?);
                }
                Ok(())
            },
        )
    }

    fn uncached(&self, args: &Args) -> Result<Rounds> {
        let tokens = self.tokens(args, args.rounds);
        let parts = parts(&tokens)?;
        Rounds::alternate(
            args,
            |round| self.check_all(of_round(&tokens, round)),
            |round| self.verify_all(of_round(&parts, round)),
        )
    }

    fn cached(&self, args: &Args) -> Result<Rounds> {
        let tokens = self.tokens(args, 1);
        let parts = parts(&tokens)?;
        self.check_all(of_round(&tokens, 0))?;
        Rounds::alternate(
            args,
            |_| self.check_all(of_round(&tokens, 0)),
            |_| self.verify_all(of_round(&parts, 0)),
        )
    }

    /// The same tokens but for the header: what the flood costs beyond reading one.
    fn unknown_kid(&self, args: &Args) -> Result<Rounds> {
        let (unknown, misnamed) = (
            self.unknown(args)?,
            self.with_headers(args, |_| self.kid.clone(), "RS256")?,
        );
        Rounds::alternate(
            args,
            |_| self.refuse_all(&unknown, "unknown key id"),
            |_| self.refuse_all(&misnamed, "alg is not the key's"),
        )
    }

    fn lookup(&self, args: &Args) -> Result<Rounds> {
        let unknown = self.unknown(args)?;
        let map: HashMap<String, usize> = HashMap::from([(self.kid.clone(), 1)]);
        Rounds::alternate(
            args,
            |_| self.refuse_all(&unknown, "unknown key id"),
            |_| {
                for token in &unknown {
                    black_box(digest(&SHA256, token.as_bytes()));
                    black_box(map.get(token.as_str()));
                }
                Ok(())
            },
        )
    }

    fn unknown(&self, args: &Args) -> Result<Vec<String>> {
        let unknown = self.with_headers(args, |n| format!("{n:043}"), "ES256")?;
        // The one fetch that a flood causes is not what is timed.
        if let Some(first) = unknown.first() {
            let _ = self.runtime.block_on(self.verifier.verify(first));
        }
        Ok(unknown)
    }

    fn with_headers(&self, args: &Args, kid: impl Fn(usize) -> String, alg: &str) -> Result<Vec<String>> {
        let token = self.mint();
        let (_, rest) = token.split_once('.').context("a JWS")?;
        let header = |n| {
            let header = format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{}"}}"#, kid(n));
            URL_SAFE_NO_PAD.encode(header)
        };
        Ok((0..args.calls).map(|n| format!("{}.{rest}", header(n))).collect())
    }

    fn verify_all(&self, parts: &[Signed]) -> Result<()> {
        for (message, signature) in parts {
            self.public.verify_sig(message.as_bytes(), signature)?;
        }
        Ok(())
    }
}

fn of_round<T>(rounds: &[Vec<T>], round: usize) -> &[T] {
    rounds.get(round).map(Vec::as_slice).unwrap_or_default()
}

/// What the bare verification gets: signed text and signature.
type Signed = (String, Vec<u8>);

fn parts(tokens: &[Vec<String>]) -> Result<Vec<Vec<Signed>>> {
    let part = |token: &String| {
        let (message, signature) = token.rsplit_once('.').context("a JWS")?;
        Ok((message.to_owned(), URL_SAFE_NO_PAD.decode(signature)?))
    };
    tokens
        .iter()
        .map(|round| round.iter().map(part).collect())
        .collect()
}

/// A feed with hundreds of revoked grants and nothing new after them.
fn feed() -> FetchRevocations {
    Arc::new(|after| {
        Box::pin(async move {
            if after.is_some() {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
            let entries: Vec<String> = (0..900)
                .filter(|_| after.is_none())
                .map(|n| format!(r#"{{"grant_id":"{n:032}","until":99999999999}}"#))
                .collect();
            let answer = format!(r#"{{"epoch":"a","next":900,"revoked":[{}]}}"#, entries.join(","));
            Ok(Bytes::from(answer))
        })
    })
}

/// Nobody signs in here.
struct Nobody;

impl Session for Nobody {
    fn current<'a>(&'a self, _: &'a Parts) -> BoxFuture<'a, Option<User>> {
        Box::pin(std::future::ready(None))
    }

    fn sign_in_url(&self, return_to: &str) -> String {
        return_to.to_owned()
    }
}

/// Nothing is authorized here.
struct Nothing;

impl Resources for Nothing {
    fn lookup<'a>(
        &'a self,
        _: &'a ResourceUri,
        _: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
