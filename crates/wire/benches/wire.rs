//! What one message costs in `wire`: run with `cargo bench -p wire`; a plain test run only sees that it works.

use bytes::Bytes;
use divan::{Bencher, black_box};
use wire::{Body, Frame, Rewrite, encode, sse};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"files.read","arguments":{"path":"docs/a.txt","limit":100},"_meta":{"progressToken":"t1"}}}"#;

fn list(tools: usize) -> Bytes {
    let tool = r#"{"name":"read","description":"Reads a file and returns its text.","inputSchema":{"type":"object","properties":{"path":{"type":"string"},"limit":{"type":"integer"}},"required":["path"]}}"#;
    let tools = vec![tool; tools].join(",");
    Bytes::from(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"tools\":[{tools}]}}}}"
    ))
}

#[divan::bench]
fn decode_call(bencher: Bencher<'_, '_>) {
    let bytes = Bytes::from_static(CALL);
    bencher.bench(|| Body::decode(black_box(&bytes)));
}

#[divan::bench(args = [1, 100])]
fn decode_list(bencher: Bencher<'_, '_>, tools: usize) {
    let bytes = list(tools);
    bencher.bench(|| Frame::decode(black_box(&bytes)));
}

#[divan::bench]
fn read_and_rewrite_params(bencher: Bencher<'_, '_>) {
    let Ok(Frame::Request(request)) = Frame::decode(&Bytes::from_static(CALL)) else {
        return;
    };
    bencher.bench(|| {
        let params = request.read_params().ok()?;
        let meta = params
            .meta()
            .ok()?
            .rewrite(Some("42"), &[], &wire::trace::Context::default());
        Some(params.rewrite(
            wire::method::Subject::Tool,
            Rewrite::named("read"),
            meta.as_deref(),
        ))
    });
}

#[divan::bench]
fn encode_response(bencher: Bencher<'_, '_>) {
    bencher.bench(|| encode::response(black_box("7"), black_box(CALL)));
}

#[divan::bench]
fn frame_an_event(bencher: Bencher<'_, '_>) {
    bencher.bench(|| sse::message(black_box(CALL)));
}
