//! What is counted is exported, under the names of the contract.

use super::*;

#[test]
fn every_metric_is_exported_under_its_name() {
    let metrics = Metrics::new("1.2.3");
    let files = UpstreamId::parse("files").unwrap();
    metrics.request("tools/call", 200, Duration::from_millis(3));
    metrics.request("tools/call", 200, Duration::from_secs(90));
    metrics.limit_hit("tool_call");
    metrics.upstream_up(&files, true);
    metrics.upstream_restarted(&files);
    metrics.audit_refused();
    let session = metrics.session();
    let calls = (metrics.call_in_flight(), metrics.call_in_flight());

    let text = metrics.encode();
    for line in [
        "portcullis_build_info{version=\"1.2.3\"} 1",
        "mcp_request_duration_seconds_count{method=\"tools/call\",status_code=\"200\"} 2",
        "mcp_request_duration_seconds_bucket{le=\"0.0025\",method=\"tools/call\",status_code=\"200\"} 0",
        "mcp_request_duration_seconds_bucket{le=\"0.005\",method=\"tools/call\",status_code=\"200\"} 1",
        "mcp_request_duration_seconds_bucket{le=\"60.0\",method=\"tools/call\",status_code=\"200\"} 1",
        "mcp_rate_limit_hits_total{limit_key=\"tool_call\",user_id=\"-\"} 1",
        "portcullis_upstream_up{upstream=\"files\"} 1",
        "portcullis_upstream_restarts_total{upstream=\"files\"} 1",
        "portcullis_sessions 1",
        "portcullis_calls_in_flight 2",
        "portcullis_audit_refused_total 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert!(text.ends_with("# EOF\n"));

    drop((session, calls));
    metrics.upstream_up(&files, false);
    let text = metrics.encode();
    for line in [
        "portcullis_sessions 0",
        "portcullis_calls_in_flight 0",
        "portcullis_upstream_up{upstream=\"files\"} 0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
}
