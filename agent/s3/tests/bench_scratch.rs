#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "scratch")]
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gosync_engine::ports::store::*;
use gosync_s3::*;
use std::sync::Arc;
fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0 }
fn env(n: &str, d: &str) -> String { std::env::var(n).unwrap_or(d.into()) }
fn main() {
    let rt = if env("RT", "multi") == "multi" { tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() } else { tokio::runtime::Builder::new_current_thread().enable_all().build() }.unwrap();
    rt.block_on(async {
        let mut c = S3Config::new("bkt", "us-east-1");
        c.endpoint = Some(env("ENDPOINT", "http://127.0.0.1:19711"));
        c.credentials = Some(Credentials { access_key: "gosync".into(), secret_key: "gosync-secret".into(), session_token: None });
        c.force_path_style = true;
        c.checksums = match env("CHECK", "auto").as_str() { "auto" => Checksums::Auto, "always" => Checksums::Always, _ => Checksums::WhenRequired };
        let s = Arc::new(S3Store::connect(c).await.unwrap());
        let n: usize = env("N", "3000").parse().unwrap();
        let run = env("RUN", "r");
        let body = Bytes::from(vec![7u8; 4096]);
        let (t, c0) = (std::time::Instant::now(), cpu());
        stream::iter(0..n).map(|i| { let s = s.clone(); let body = body.clone(); let run = run.clone(); async move { s.put(PutRequest { key: format!("bench/{run}/{i}"), body, headers: ObjectHeaders { mtime_ns: Some(1), mode: Some(0o100644), ..Default::default() }, condition: Condition::Absent }).await.unwrap(); } }).buffer_unordered(32).for_each(|_| async {}).await;
        println!("put  {n}: wall {:.2} cpu {:.2}", t.elapsed().as_secs_f64(), cpu() - c0);
        let (t, c0) = (std::time::Instant::now(), cpu());
        stream::iter(0..n).map(|i| { let s = s.clone(); let run = run.clone(); async move { let mut b = s.get(GetRequest { key: format!("bench/{run}/{i}"), ..Default::default() }).await.unwrap(); let mut l = 0; while let Some(c) = b.chunk().await.unwrap() { l += c.len(); } assert_eq!(l, 4096); } }).buffer_unordered(32).for_each(|_| async {}).await;
        println!("get  {n}: wall {:.2} cpu {:.2}", t.elapsed().as_secs_f64(), cpu() - c0);
        let (t, c0) = (std::time::Instant::now(), cpu());
        let mut token = None; let mut l = 0;
        loop { let p = s.list(ListRequest { prefix: format!("bench/{run}/"), token, ..Default::default() }).await.unwrap(); l += p.objects.len(); token = p.next; if token.is_none() { break } }
        println!("list {l}: wall {:.2} cpu {:.2}", t.elapsed().as_secs_f64(), cpu() - c0);
        let mb: usize = env("MB", "512").parse().unwrap();
        if mb > 0 {
            let part = Bytes::from(vec![9u8; 8 << 20]);
            let (t, c0) = (std::time::Instant::now(), cpu());
            let up = s.create_upload("bench/big", &ObjectHeaders::default()).await.unwrap();
            let mut parts: Vec<(u32, String)> = stream::iter(0..mb / 8).map(|i| { let s = s.clone(); let up = up.clone(); let part = part.clone(); async move { let n = i as u32 + 1; (n, s.upload_part("bench/big", &up, n, part).await.unwrap()) } }).buffer_unordered(4).collect().await;
            parts.sort();
            s.complete_upload("bench/big", &up, &parts, &Condition::None).await.unwrap();
            println!("up   {mb} MiB: wall {:.2} cpu {:.2}", t.elapsed().as_secs_f64(), cpu() - c0);
            let (t, c0) = (std::time::Instant::now(), cpu());
            stream::iter(0..mb / 8).map(|i| { let s = s.clone(); async move { let a = (i as u64) << 23; let mut b = s.get(GetRequest { key: "bench/big".into(), range: Some(a..a + (8 << 20)), ..Default::default() }).await.unwrap(); let mut n = 0; while let Some(c) = b.chunk().await.unwrap() { n += 1; let _ = c; } n } }).buffer_unordered(4).fold(0, |a, b| async move { a + b }).await;
            println!("down {mb} MiB ranges: wall {:.2} cpu {:.2}", t.elapsed().as_secs_f64(), cpu() - c0);
            let (t, c0) = (std::time::Instant::now(), cpu());
            let mut b = s.get(GetRequest { key: "bench/big".into(), ..Default::default() }).await.unwrap(); let (mut n, mut l) = (0u64, 0); while let Some(c) = b.chunk().await.unwrap() { n += 1; l += c.len(); }
            println!("down {mb} MiB whole, {n} chunks of {}: wall {:.2} cpu {:.2}", l / n as usize, t.elapsed().as_secs_f64(), cpu() - c0);
        }
        println!("rss {}", std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l| l.starts_with("VmHWM")).unwrap());
    });
}
