use super::*;
use crate::controller::policies::NotInForce;
use crate::controller::policies::tests::{Watched, config, slo, sloth, view};

fn standing(type_: &str, status: &str, generation: i64) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: "Told".to_owned(),
        message: String::new(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: Some(generation),
    }
}

fn why(reason: &'static str) -> NotInForce {
    NotInForce { reason, message: "nobody there".to_owned() }
}

#[test]
fn a_policy_that_is_in_force_stays_so_where_prometheus_has_not_told_of_its_slos() {
    let unanswered = Lacking::Unanswered(why("SloUnanswered"));
    let unknown = Said::new(READY, "Unknown", "SloNotAsked", String::new());
    let refused = Said::new(READY, "False", "SloUnanswered", String::new());
    for status in ["True", "False", "Unknown"] {
        assert!(stays(&standing(READY, status, 4), &unknown, 4, Some(&Lacking::NotAsked)), "it is asked in a moment");
        assert_eq!(stays(&standing(READY, status, 4), &refused, 4, Some(&unanswered)), status == "True", "{status}");
    }
    assert!(!stays(&standing(READY, "True", 3), &unknown, 4, Some(&Lacking::NotAsked)), "it was said of other words");
    assert!(!stays(&standing(READY, "True", 3), &refused, 4, Some(&unanswered)), "it was said of other words");
    let missing = Said::new("EvidenceAvailable", "False", "EvidenceMissing", String::new());
    assert!(!stays(&standing("EvidenceAvailable", "True", 4), &missing, 4, Some(&unanswered)), "that is said");
}

#[test]
fn an_slo_that_is_known_to_be_wrong_takes_a_policy_out_of_force() {
    let gone = Said::new(READY, "False", "SloNotFound", String::new());
    assert!(!stays(&standing(READY, "True", 4), &gone, 4, Some(&Lacking::Why(why("SloNotFound")))));
    let conflict = Said::new(READY, "False", "Conflict", String::new());
    assert!(!stays(&standing(READY, "True", 4), &conflict, 4, None));
}

#[test]
fn what_was_verified_once_stays_so_until_it_is_known_to_be_wrong() {
    let said = |status| Said::new(VERIFIED, status, "Of", String::new());
    assert!(stays(&standing(VERIFIED, "True", 4), &said("Unknown"), 4, None));
    assert!(!stays(&standing(VERIFIED, "True", 4), &said("False"), 4, None));
    assert!(!stays(&standing(VERIFIED, "True", 3), &said("Unknown"), 4, None));
    assert!(!stays(&standing(VERIFIED, "False", 4), &said("Unknown"), 4, None));
}

#[test]
fn bounds_that_were_asked_for_one_threshold_are_not_known_of_another() {
    let (mut watched, view) = (Watched::new(), view(serde_json::json!([sloth("a")])));
    let (keeper, policies, key) = (Keeper::default(), Policies::default(), view.key());
    watched.is(&view);
    let read = |total: &str| {
        policies.take_in(&key, &watched.store, &config(), |_, _| slo("99.9", total));
        policies.get(&key).expect("it is known").outcome.expect("it is in force")
    };
    let before = read("alle");
    keeper.found_bounds(&before, &policies, None);
    assert!(keeper.bounds_fit(&key, 4));
    let now = read("jede");
    keeper.forget_bounds(&key);
    keeper.found_bounds(&before, &policies, None);
    assert!(!keeper.bounds_fit(&key, 4), "it was asked for what the SLO said before");
    keeper.found_bounds(&now, &policies, None);
    assert!(keeper.bounds_fit(&key, 4));
}
