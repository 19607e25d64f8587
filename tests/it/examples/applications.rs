//! The examples of whole applications, by the figures that they print.

use super::Program;

/// The whole numbers in a line.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn axum_service_follows_its_settings_under_load_and_no_request_fails() {
    let mut program = Program::start("axum_service", &[]);
    let mut look = |after: &str| {
        program.says(after);
        let line = program.says("crowd: ");
        let [in_flight, accepted, later] = numbers(&line)[..] else { panic!("three numbers: {line}") };
        assert!(accepted > 0, "{line}");
        (in_flight, accepted, later, line)
    };
    let (in_flight, ..) = look("pool_size: 4");
    assert!(in_flight <= 4, "{in_flight}");
    let (first, ..) = look("operator: pool_size = 16");
    let (in_flight, ..) = look("operator: pool_size = 2");
    assert!(in_flight <= 2, "{in_flight}");
    let (second, _, later, line) = look("operator: pool_size = 16");
    // That more than before work at once shows where the machine leaves the crowd the time for it.
    assert!((5..=16).contains(&first.max(second)), "{first}, {second}");
    assert_eq!(later, 0, "the first rate holds back nobody");
    assert!(line.ends_with("the answer is old"), "{line}");
    // The rate, what may come at once, and what was accepted just before the count began.
    let (_, accepted, later, _) = look("operator: rate_limit = 50");
    assert!(accepted <= 80 && later > 0, "{accepted}, {later}");
    let (.., line) = look("operator: new_code = true");
    assert!(line.ends_with("the answer is new"), "{line}");
    program.says("operator: pool_size = 0");
    program.says("refused, the pool stays at 16");
    assert_eq!(program.says("requests failed"), "0 requests failed");
    assert!(program.ends().success());
}

#[test]
fn axum_service_stays_and_takes_changes_from_outside() {
    let mut program = Program::start("axum_service", &["--stay"]);
    program.says("It stays until Ctrl-C");
    let command = program.says("--example updater -- ");
    let arguments: Vec<_> = command.split_whitespace().skip_while(|word| !word.starts_with("http")).collect();
    let mut updater = Program::start("updater", &arguments);
    assert!(updater.ends().success(), "{:#?}", updater.said);
    program.says("new_code: false");
    program.interrupt();
    assert!(program.ends().success());
}

#[test]
fn exchange_rates_shows_a_slow_screen_fewer_updates_and_the_last_tick_of_each_symbol() {
    let mut program = Program::start("exchange_rates", &[]);
    program.says("rates/EURUSD ");
    let [ticks, a_second] = numbers(&program.says("publisher: "))[..] else { panic!("two numbers") };
    let deliveries = numbers(&program.says("reader: "))[0];
    program.says("reader: the newest value was ");
    let [updates, looks] = numbers(&program.says("screen: "))[..] else { panic!("two numbers") };
    program.says("all 100 symbols show the last tick");
    assert!(program.ends().success());
    assert_eq!(ticks, 3_000);
    assert!((1..=ticks / 20).contains(&deliveries), "a delivery is of one commit at least: {deliveries}");
    // Where the publisher gets no time, the screen is not slow.
    assert!(updates < ticks || a_second < 600, "{updates} updates of {ticks} ticks, {a_second} a second");
    assert!(updates <= 100 * looks, "{updates} updates in {looks} looks");
    assert!(!program.said.iter().any(|line| line.contains('\r')), "no terminal, no tricks");
}

#[test]
fn notification_subscribers_miss_no_event_and_handle_none_twice() {
    let mut program = Program::start("notification_subscribers", &[]);
    program.says("pager: is gone, after 40 events");
    program.says("publisher: events 41 to 80");
    program.says("pager: was back, and has handled 80 events");
    program.says("server: is killed");
    program.says("server: is back");
    for name in ["mail", "audit", "pager"] {
        program.says(&format!("{name}: 120 events handled, 0 missed, 0 twice"));
    }
    program.says("server: keeps 100 of 120 events");
    assert!(program.ends().success());
}
