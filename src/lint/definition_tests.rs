use serde_json::json;

use super::*;

fn policy(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut object = json!({"spec": {
        "selector": {"matchLabels": {"app": "ofen"}},
        "objectives": [{"name": "o", "target": "99.9", "indicator": {"ratio": {"errors": "e", "total": "t"}}}],
    }});
    change(&mut object["spec"]);
    let (problems, _) = Definition::built_in().check(&object);
    problems.into_iter().map(|problem| format!("{}: {}", problem.field, problem.problem)).collect()
}

/// Calls `visit` with every keyword of a schema.
fn keywords(schema: &Value, visit: &mut impl FnMut(&str)) {
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        visit(keyword);
        match keyword.as_str() {
            "properties" => value.as_object().into_iter().flatten().for_each(|(_, schema)| keywords(schema, visit)),
            "items" | "additionalProperties" => keywords(value, visit),
            _ => {}
        }
    }
}

#[test]
fn nothing_stands_in_the_definition_that_is_not_looked_at() {
    // What says something of the value is looked at by `Walk` or by the rules; the rest says nothing of it.
    let looked_at = [
        "type",
        "properties",
        "items",
        "additionalProperties",
        "required",
        "enum",
        "default",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "maxProperties",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-validations",
    ];
    let says_nothing = ["description", "format", "title"];
    keywords(&Definition::built_in().schema, &mut |keyword| {
        assert!(looked_at.contains(&keyword) || says_nothing.contains(&keyword), "{keyword} is not looked at");
    });
}

#[test]
fn every_rule_can_be_asked_here() {
    let definition = Definition::built_in();
    let full = include_str!("../../config/policies/full.yaml");
    let full: Value = serde_norway::from_str(full).expect("YAML");
    let (problems, stored) = definition.check(&full);
    assert_eq!(problems, []);
    assert_eq!(stored["spec"]["detection"]["looks"], json!(3));
}

#[test]
fn a_rule_blames_the_field_that_the_definition_says() {
    let [said] = policy(|spec| spec["detection"] = json!({"warning": "1.1"})).try_into().expect("one problem");
    assert!(said.starts_with("spec.detection.warning: it is above violation, so it could never halt"), "{said}");
}

#[test]
fn a_port_is_a_number_or_a_name() {
    let said = |port: Value| {
        policy(|spec| {
            spec["evidence"] = json!("Pods");
            spec["pods"] = json!({"port": port});
        })
    };
    assert_eq!((said(json!(8080)), said(json!("metrics"))), (vec![], vec![]));
    for port in [json!(0), json!("8080"), json!("Metrics")] {
        let [said] = said(port).try_into().expect("one problem");
        assert!(said.starts_with("spec.pods.port: write a number from 1 to 65535"), "{said}");
    }
    let [said] = said(json!(true)).try_into().expect("one problem");
    assert!(said.ends_with("write a whole number without quotes, or a text"), "{said}");
}

#[test]
fn a_wrong_type_says_what_it_is_and_what_to_write() {
    let said = policy(|spec| spec["objectives"][0]["target"] = json!(99.9));
    assert_eq!(
        said,
        ["spec.objectives[0].target: it is the number 99.9; write a text in quotes, for example \"99.9\""]
    );
    let said = policy(|spec| spec["detection"] = json!({"looks": "3"}));
    assert_eq!(
        said,
        ["spec.detection.looks: it is the text \"3\"; write a whole number without quotes, for example 3"]
    );
}

#[test]
fn bounds_names_and_words_are_looked_at() {
    for (change, says) in [
        (json!({"detection": {"looks": 11}}), "spec.detection.looks: it is 11; write a number from 1 to 10"),
        (
            json!({"detection": {"rule": "sequential"}}),
            "spec.detection.rule: \"sequential\" is not known here; write Sequential or Threshold; did you mean \
             Sequential?",
        ),
        (json!({"detection": {"windw": "30s"}}), "spec.detection.windw: there is no such field; did you mean window?"),
        (json!({"violation": "2"}), "spec.violation: there is no such field; did you mean spec.detection.violation?"),
        (json!({"objectives": []}), "spec.objectives: it has 0 entries; write at least 1"),
        (json!({"prometheus": ""}), "spec.prometheus: it is empty; write at least 1"),
    ] {
        let said = policy(|spec| {
            for (name, value) in change.as_object().expect("an object") {
                spec[name] = value.clone();
            }
        });
        assert!(said.iter().any(|said| said == says), "{said:?}");
    }
}

#[test]
fn what_is_required_is_asked_for_in_its_own_words() {
    let said = policy(|spec| drop(spec.as_object_mut().expect("an object").remove("selector")));
    assert_eq!(
        said,
        [
            "spec.selector: it is required and not there; write it: Which Deployments of this namespace the policy governs, \
          by their labels"
        ]
    );
}

#[test]
fn the_objectives_names_are_unique() {
    let said = policy(|spec| {
        let twin = spec["objectives"][0].clone();
        spec["objectives"].as_array_mut().expect("a list").push(twin);
    });
    assert_eq!(said, ["spec.objectives[1].name: another entry has this name, \"o\"; write a different one"]);
}
