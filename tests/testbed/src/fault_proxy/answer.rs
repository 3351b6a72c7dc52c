//! Wrong answers in the form of the Prometheus HTTP API, without I/O.

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Fault;

/// An answer of this status that says what went wrong, as the API does.
pub(super) fn error(status: StatusCode, message: &str) -> Response {
    let body = json!({"status": "error", "errorType": "internal", "error": message});
    json_answer(status, body.to_string())
}

/// An answer that claims to be JSON and breaks off.
pub(super) fn garbage() -> Response {
    json_answer(StatusCode::OK, r#"{"status":"success","data":{"resu<html>"#.to_owned())
}

fn json_answer(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Changes the result of a successful query as the fault says; whatever else upstream said is left as it is.
pub(super) fn change(body: Bytes, fault: Fault) -> Bytes {
    if !matches!(fault, Fault::NaN | Fault::Empty | Fault::Partial) {
        return body;
    }
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    if answer["status"] != "success" {
        return body;
    }
    let Some(result) = answer.pointer_mut("/data/result") else {
        return body;
    };
    match fault {
        Fault::NaN => replace_values(result),
        Fault::Empty => *result = json!([]),
        _ => {
            drop_every_second(result);
            answer["warnings"] = json!(["not all stores answered: the result is partial"]);
        }
    }
    answer.to_string().into()
}

/// Puts NaN into every sample of a vector or a matrix, and of a scalar.
fn replace_values(result: &mut Value) {
    match result.as_array_mut().map(Vec::as_mut_slice) {
        Some([timestamp, value]) if timestamp.is_number() => *value = json!("NaN"),
        Some(series) => {
            for one in series {
                for field in ["value", "values"] {
                    if let Some(samples) = one.get_mut(field) {
                        replace_values(samples);
                    }
                }
                if one.is_array() {
                    replace_values(one);
                }
            }
        }
        None => {}
    }
}

/// Keeps the first, third, fifth... series in the order of their labels, which is the same in every answer.
fn drop_every_second(result: &mut Value) {
    if let Some(series) = result.as_array_mut() {
        series.sort_by_key(|one| one["metric"].to_string());
        let mut keep = false;
        series.retain(|_| {
            keep = !keep;
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(body: Value, fault: Fault) -> Value {
        serde_json::from_slice(&change(body.to_string().into(), fault)).expect("JSON")
    }

    fn success(result_type: &str, result: Value) -> Value {
        json!({"status": "success", "data": {"resultType": result_type, "result": result}})
    }

    fn vector() -> Value {
        success(
            "vector",
            json!([
                {"metric": {"pod": "b"}, "value": [1.5, "20"]},
                {"metric": {"pod": "a"}, "value": [1.5, "10"]},
                {"metric": {"pod": "c"}, "value": [1.5, "30"]},
            ]),
        )
    }

    fn pods(answer: &Value) -> Vec<&str> {
        let series = answer["data"]["result"].as_array().expect("a list");
        series.iter().map(|one| one["metric"]["pod"].as_str().expect("a pod")).collect()
    }

    #[test]
    fn nan_replaces_the_values_of_a_vector_and_keeps_series_and_times() {
        let answer = changed(vector(), Fault::NaN);
        assert_eq!(pods(&answer), ["b", "a", "c"]);
        assert_eq!(answer["data"]["result"][1]["value"], json!([1.5, "NaN"]));
    }

    #[test]
    fn nan_replaces_every_value_of_a_matrix_and_of_a_scalar() {
        let matrix = success("matrix", json!([{"metric": {}, "values": [[1, "1"], [2, "2"]]}]));
        let answer = changed(matrix, Fault::NaN);
        assert_eq!(answer["data"]["result"][0]["values"], json!([[1, "NaN"], [2, "NaN"]]));
        let answer = changed(success("scalar", json!([7, "1"])), Fault::NaN);
        assert_eq!(answer["data"]["result"], json!([7, "NaN"]));
    }

    #[test]
    fn empty_keeps_the_type_of_the_result() {
        assert_eq!(changed(vector(), Fault::Empty), success("vector", json!([])));
    }

    #[test]
    fn a_partial_answer_lacks_half_of_the_series_always_the_same_and_warns() {
        let answer = changed(vector(), Fault::Partial);
        assert_eq!(pods(&answer), ["a", "c"]);
        assert_eq!(answer["warnings"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn errors_of_upstream_and_answers_of_other_kinds_pass_unchanged() {
        let refused = json!({"status": "error", "errorType": "bad_data", "error": "parse error"});
        assert_eq!(changed(refused.clone(), Fault::Empty), refused);
        assert_eq!(change("no JSON".into(), Fault::NaN), "no JSON");
        assert_eq!(changed(vector(), Fault::Pass), vector());
    }
}
