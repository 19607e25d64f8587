//! Reading what a message says, whatever a server put there.

use std::time::Duration;

/// A duration; `None` for a negative one, and for one whose parts do not belong together.
///
/// The conversion of `prost-types` negates without a check, and so panics at the least of all.
pub(crate) fn read_duration(duration: prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(duration.seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_duration_of_a_message_panics_and_only_sound_ones_are_read() {
        let read = |seconds, nanos| read_duration(prost_types::Duration { seconds, nanos });
        assert_eq!(read(3, 5), Some(Duration::new(3, 5)));
        assert_eq!(read(i64::MAX, 999_999_999), Some(Duration::new(i64::MAX.unsigned_abs(), 999_999_999)));
        let unsound = [(-1, 0), (0, -1), (i64::MIN, i32::MIN), (i64::MIN, 0), (i64::MAX, i32::MAX), (1, -1)];
        assert!(unsound.into_iter().all(|(seconds, nanos)| read(seconds, nanos).is_none()));
    }
}
