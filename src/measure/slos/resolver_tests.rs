use tokio::time::advance;

use super::*;
use crate::measure::look::Missing;
use crate::policy::Indicator;

/// A server with the rules of one SLO of Sloth, or none that answers.
#[derive(Default)]
struct Fake {
    target: Mutex<Option<&'static str>>,
    asked: Mutex<Vec<Vec<String>>>,
}

impl Rules for Fake {
    async fn rules(&self, selectors: &[String]) -> Result<Vec<Rule>, Failure> {
        self.asked.lock().unwrap().push(selectors.to_vec());
        let target = *self.target.lock().unwrap();
        let target = target.ok_or_else(|| Failure::new(Missing::Unreachable, "nobody there"))?;
        let rule = |record: &str, expression: &str| Rule {
            record: record.to_owned(),
            expression: expression.to_owned(),
            labels: [("sloth_service", "shop"), ("sloth_slo", "up")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        Ok(vec![
            rule("slo:objective:ratio", target),
            rule("slo:time_period:days", "vector(30)"),
            rule("slo:sli_error:ratio_rate5m", "sum(rate(e[5m])) / sum(rate(t[5m]))"),
        ])
    }
}

fn up() -> SloName {
    SloName::Sloth { service: "shop".to_owned(), slo: "up".to_owned() }
}

fn pyrra(name: &str) -> SloName {
    SloName::Pyrra { name: name.to_owned() }
}

fn slos(fake: &Arc<Fake>) -> Slos<Fake> {
    Slos::new(BTreeMap::from([("eu".to_owned(), Arc::clone(fake))]))
}

fn target(slos: &Slos<Fake>) -> String {
    match slos.of("eu", &up()) {
        Answer::NotAsked => "not asked".to_owned(),
        Answer::Known(Ok(slo)) => slo.target,
        Answer::Known(Err(unread)) => unread.reason().to_owned(),
    }
}

#[tokio::test]
async fn a_change_of_the_slo_is_told_and_so_is_that_it_is_gone() {
    let fake = Arc::new(Fake::default());
    let slos = slos(&fake);
    let names = BTreeSet::from([up()]);
    assert_eq!(target(&slos), "not asked");
    *fake.target.lock().unwrap() = Some("vector(0.99)");
    assert_eq!(slos.ask("eu", &names).await, names);
    assert_eq!(target(&slos), "99");
    let Answer::Known(Ok(slo)) = slos.of("eu", &up()) else { panic!("it is known") };
    assert_eq!(slo.indicator, Indicator::Ratio { errors: "e".to_owned(), total: "t".to_owned() });
    assert!(slos.ask("eu", &names).await.is_empty(), "nothing is new");
    *fake.target.lock().unwrap() = Some("vector(0.999)");
    assert_eq!((slos.ask("eu", &names).await, target(&slos)), (names.clone(), "99.9".to_owned()));
    *fake.target.lock().unwrap() = Some("time()");
    assert_eq!((slos.ask("eu", &names).await, target(&slos)), (names, "SloNotUnderstood".to_owned()));
}

#[tokio::test]
async fn where_prometheus_does_not_tell_what_was_known_before_still_counts() {
    let fake = Arc::new(Fake::default());
    let slos = slos(&fake);
    let names = BTreeSet::from([up(), pyrra("cart")]);
    assert_eq!((slos.ask("eu", &names).await.len(), target(&slos)), (2, "SloUnanswered".to_owned()));
    *fake.target.lock().unwrap() = Some("vector(0.99)");
    slos.ask("eu", &names).await;
    *fake.target.lock().unwrap() = None;
    slos.ask("eu", &names).await;
    assert_eq!(target(&slos), "99");
    let unread = slos.of("eu", &pyrra("cart"));
    assert!(matches!(unread, Answer::Known(Err(Unread::Unanswered(_)))), "{unread:?}");
    assert!(
        matches!(slos.ask("us", &names).await.len(), 2),
        "an endpoint that is not there is told like one that is away"
    );
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_asked_once_a_minute_and_sooner_for_what_is_not_known() {
    let fake = Arc::new(Fake::default());
    let slos = slos(&fake);
    let (minute, names) = (Duration::from_secs(60), BTreeSet::from([up()]));
    slos.ask("eu", &names).await;
    advance(Duration::from_secs(9)).await;
    assert!(!slos.is_due("eu", &names, minute));
    advance(Duration::from_secs(1)).await;
    assert!(slos.is_due("eu", &names, minute), "it did not tell");
    *fake.target.lock().unwrap() = Some("vector(0.99)");
    assert!(!slos.is_due("eu", &BTreeSet::new(), minute) && slos.is_due("us", &names, minute));
    slos.ask("eu", &names).await;
    let more = BTreeSet::from([up(), pyrra("cart")]);
    assert!(!slos.is_due("eu", &names, minute) && !slos.is_due("eu", &more, minute));
    advance(Duration::from_secs(2)).await;
    assert!(!slos.is_due("eu", &names, minute) && slos.is_due("eu", &more, minute));
    advance(Duration::from_secs(58)).await;
    assert!(slos.is_due("eu", &names, minute));
}

#[tokio::test]
async fn one_question_asks_for_the_names_of_all_policies() {
    let fake = Arc::new(Fake::default());
    *fake.target.lock().unwrap() = Some("vector(0.99)");
    let slos = slos(&fake);
    let odd = SloName::Sloth { service: "cart".to_owned(), slo: "a.b\"c".to_owned() };
    slos.ask("eu", &BTreeSet::from([up(), odd, pyrra("cart-errors"), pyrra("x")])).await;
    let asked = std::mem::take(&mut *fake.asked.lock().unwrap());
    assert_eq!(asked, [[r#"{slo=~"cart-errors|x"}"#.to_owned(), r#"{sloth_slo=~"a\\.b\\\"c|up"}"#.to_owned()]]);

    let many: BTreeSet<SloName> = (0..200).map(|i| pyrra(&format!("{i:03}-of-a-rather-long-name"))).collect();
    slos.ask("eu", &many).await;
    let asked = fake.asked.lock().unwrap();
    assert!(
        asked.len() > 1 && asked.iter().flatten().all(|selector| selector.len() < LONGEST + 300),
        "{}",
        asked.len()
    );
    let named = asked.iter().flatten().map(|selector| selector.matches("-of-a-").count()).sum::<usize>();
    assert_eq!(named, 200, "each is asked for once");
}
