//! Schedules as text that can be pasted into a test: `arrival#3=late:2500000 commit/after#0=crash:1000`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use longhaul_core::probe::{CrashPoint, Moment};

use super::{Fault, Place, Schedule, Site, WorldFault};
use crate::broker::Personality;

/// A text that is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSchedule(String);

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "failed to read the schedule: {:?} is no part of one; paste it as it was printed",
            self.0
        )
    }
}

impl std::error::Error for InvalidSchedule {}

const SITES: [(&str, Site); 9] = [
    ("turn", Site::Turn),
    ("arrival", Site::Arrival),
    ("send", Site::Send),
    ("settle", Site::Settle),
    ("load", Site::Load),
    ("commit", Site::Commit),
    ("claim", Site::Claim),
    ("outside", Site::Outside),
    ("world", Site::World),
];

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Point(point, moment) = self {
            return write!(f, "{point:?}/{moment:?}");
        }
        let name = SITES.iter().find(|(_, site)| site == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl FromStr for Site {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some((_, site)) = SITES.iter().find(|(name, _)| *name == text) {
            return Ok(*site);
        }
        let (point, moment) = text.split_once('/').ok_or(())?;
        let named = |candidate: &CrashPoint| format!("{candidate:?}") == point;
        let point = CrashPoint::ALL.into_iter().find(named).ok_or(())?;
        match moment {
            "Before" => Ok(Self::Point(point, Moment::Before)),
            "After" => Ok(Self::Point(point, Moment::After)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pick(which) => write!(f, "pick:{which}"),
            Self::Late(later) => write!(f, "late:{}", later.as_micros()),
            Self::Twice(later) => write!(f, "twice:{}", later.as_micros()),
            Self::Refused => f.write_str("refused"),
            Self::Unknown { done } => write!(f, "unknown:{}", u8::from(*done)),
            Self::Silence { done } => write!(f, "silence:{}", u8::from(*done)),
            Self::Panic { done } => write!(f, "panic:{}", u8::from(*done)),
            Self::Lost => f.write_str("lost"),
            Self::Crash(down) => write!(f, "crash:{}", down.as_micros()),
            Self::World(after, what) => {
                write!(f, "at:{}:", after.as_micros())?;
                match what {
                    WorldFault::Cut(process) => write!(f, "cut:{process}"),
                    WorldFault::EndConsumer(process) => write!(f, "end:{process}"),
                    WorldFault::Block(length) => write!(f, "block:{}", length.as_micros()),
                    WorldFault::Pause(process, length) => {
                        write!(f, "pause:{process}:{}", length.as_micros())
                    }
                    WorldFault::Step(process, micros) => write!(f, "step:{process}:{micros}"),
                    WorldFault::Stop(process) => write!(f, "stop:{process}"),
                }
            }
        }
    }
}

impl FromStr for Fault {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split(':').collect();
        Ok(match parts.as_slice() {
            ["pick", which] => Self::Pick(number(which)?),
            ["late", micros] => Self::Late(micros_of(micros)?),
            ["twice", micros] => Self::Twice(micros_of(micros)?),
            ["refused"] => Self::Refused,
            ["unknown", done] => Self::Unknown { done: *done == "1" },
            ["silence", done] => Self::Silence { done: *done == "1" },
            ["panic", done] => Self::Panic { done: *done == "1" },
            ["lost"] => Self::Lost,
            ["crash", micros] => Self::Crash(micros_of(micros)?),
            ["at", after, what @ ..] => Self::World(
                micros_of(after)?,
                match what {
                    ["cut", process] => WorldFault::Cut(number(process)?),
                    ["end", process] => WorldFault::EndConsumer(number(process)?),
                    ["block", micros] => WorldFault::Block(micros_of(micros)?),
                    ["pause", process, micros] => WorldFault::Pause(number(process)?, micros_of(micros)?),
                    ["step", process, micros] => WorldFault::Step(number(process)?, number(micros)?),
                    ["stop", process] => WorldFault::Stop(number(process)?),
                    _ => return Err(()),
                },
            ),
            _ => return Err(()),
        })
    }
}

fn number<N: FromStr>(text: &str) -> Result<N, ()> {
    text.parse().map_err(|_| ())
}

fn micros_of(text: &str) -> Result<Duration, ()> {
    number(text).map(Duration::from_micros)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.personality.as_str())?;
        if self.seed != 0 {
            write!(f, " seed:{}", self.seed)?;
        }
        if let Some(requests) = &self.requests {
            f.write_str(" requests:")?;
            for (at, request) in requests.iter().enumerate() {
                write!(f, "{}{request}", if at == 0 { "" } else { "," })?;
            }
        }
        self.faults
            .iter()
            .try_for_each(|(place, fault)| write!(f, " {}#{}={fault}", place.site, place.nth))
    }
}

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let mut schedule = Self::default();
        for word in text.split_whitespace() {
            schedule
                .read(word)
                .map_err(|()| InvalidSchedule(word.to_owned()))?;
        }
        Ok(schedule)
    }
}

impl Schedule {
    fn read(&mut self, word: &str) -> Result<(), ()> {
        if let Some(list) = word.strip_prefix("requests:") {
            let numbers = list.split(',').filter(|number| !number.is_empty());
            self.requests = Some(numbers.map(number).collect::<Result<_, _>>()?);
            return Ok(());
        }
        if let Some(seed) = word.strip_prefix("seed:") {
            self.seed = number(seed)?;
            return Ok(());
        }
        if let Some(found) = Personality::EVERY.iter().find(|one| one.as_str() == word) {
            self.personality = *found;
            return Ok(());
        }
        let (place, fault) = word.split_once('=').ok_or(())?;
        let (site, nth) = place.split_once('#').ok_or(())?;
        let place = Place {
            site: site.parse()?,
            nth: number(nth)?,
        };
        self.faults.push((place, fault.parse()?));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_schedule_is_printed_it_reads_back() {
        let text = "sqs seed:19 requests:0,7 turn#3=pick:1 arrival#0=late:2500000 arrival#1=twice:7 send#2=unknown:1 \
                    commit#4=silence:0 load#1=refused settle#0=lost outside#3=panic:1 Commit/After#0=crash:1000 \
                    world#0=at:5:step:1:-3600000000 world#1=at:6:block:9 world#2=at:6:pause:2:9 world#3=at:1:cut:1";
        let schedule: Schedule = text.parse().expect("reads");
        assert_eq!(schedule.to_string(), text);
        for personality in Personality::EVERY {
            let text = format!("{} arrival#0=twice:7", personality.as_str());
            let schedule: Schedule = text.parse().expect("reads");
            assert_eq!((schedule.personality, schedule.to_string()), (personality, text));
        }
    }

    #[test]
    fn when_a_text_is_no_schedule_it_says_which_word() {
        for word in [
            "turn",
            "seed:-1",
            "turn#x=lost",
            "nowhere#1=lost",
            "turn#1=nothing",
            "Commit/During#0=lost",
        ] {
            let error = format!("rabbit {word}").parse::<Schedule>().expect_err(word);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
