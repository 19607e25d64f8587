//! What a program that knows nothing of us does in one transaction.

use fastrand::Rng;

/// How many keys all writers have in common.
const SHARED: usize = 20;
/// How many rows a transaction writes at most.
const ROWS: usize = 8;
/// What nobody may ever see.
pub(super) const ROLLED_BACK: &str = "rolled back";

/// A key that all writers write.
pub(super) fn shared(rng: &mut Rng) -> String {
    format!("shared/{}", rng.usize(..SHARED))
}

/// A transaction, statement by statement, without its end.
pub(super) struct Transaction {
    pub(super) begin: &'static str,
    pub(super) statements: Vec<String>,
}

impl Transaction {
    /// Writes `value` to a key of its own, and others to shared keys, in any order and in every way.
    pub(super) fn random(rng: &mut Rng, own: &str, value: &str) -> Self {
        let begin = match rng.u8(..10) {
            0 => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            1 => "BEGIN ISOLATION LEVEL SERIALIZABLE",
            _ => "BEGIN",
        };
        let mut statements = vec![put(own, value)];
        if rng.u8(..4) == 0 {
            statements =
                vec![put(own, "not yet"), format!("UPDATE data SET value = '{value}' WHERE key = '{own}'")];
        }
        for number in numbers(rng) {
            let statement = change(rng, &format!("shared/{number}"), value);
            // What is done to the own key stays in its order.
            let at = rng.usize(..=statements.len());
            statements.insert(at, statement);
        }
        if rng.u8(..5) == 0 {
            let at = rng.usize(..=statements.len());
            statements.splice(at..at, savepoint(rng));
        }
        if rng.u8(..10) == 0 {
            statements.push("SET CONSTRAINTS ALL IMMEDIATE".to_owned());
        }
        Self { begin, statements }
    }
}

/// Which shared keys are written: seldom many, or most transactions would wait for each other in a circle.
fn numbers(rng: &mut Rng) -> Vec<usize> {
    let mut numbers: Vec<_> = (0..SHARED).collect();
    rng.shuffle(&mut numbers);
    numbers
        .truncate([rng.usize(..ROWS), rng.usize(..ROWS), rng.usize(..ROWS)].into_iter().min().unwrap_or(0));
    numbers
}

/// What is taken back; and before, sometimes, all that a commit would do.
fn savepoint(rng: &mut Rng) -> Vec<String> {
    let key = shared(rng);
    let mut statements = vec!["SAVEPOINT s".to_owned(), change(rng, &key, ROLLED_BACK)];
    if rng.bool() {
        statements.push("SET CONSTRAINTS ALL IMMEDIATE".to_owned());
    }
    statements.push("ROLLBACK TO SAVEPOINT s".to_owned());
    statements
}

fn change(rng: &mut Rng, key: &str, value: &str) -> String {
    match rng.u8(..4) {
        0 => format!("UPDATE data SET value = '{value}' WHERE key = '{key}'"),
        1 => format!("DELETE FROM data WHERE key = '{key}'"),
        _ => put(key, value),
    }
}

fn put(key: &str, value: &str) -> String {
    format!(
        "INSERT INTO data (key, value, value_type) VALUES ('{key}', '{value}', 'string')
         ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    )
}
