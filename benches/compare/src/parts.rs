//! What is compared, one file for each question.

mod client_keys;
mod durable;
mod fan_out;
mod first_sync;
mod growth;
mod latency;
mod memory;
mod overload;
mod reads;
mod storm;
mod weight;

use anyhow::Result;

use crate::report::Report;
use crate::rounds::Effort;

/// All parts by name, in the order in which they are measured.
pub const ALL: [Part; 11] = [
    Part { name: "P1", title: "a typed read" },
    Part { name: "P2", title: "fan-out, a connection for each subscriber" },
    Part { name: "P3", title: "fan-out, 100 streams on a connection" },
    Part { name: "P4", title: "latency of propagation" },
    Part { name: "P5", title: "memory of an idle subscriber" },
    Part { name: "P6", title: "durable pushes" },
    Part { name: "P7", title: "first sync" },
    Part { name: "P8", title: "a storm of reconnects" },
    Part { name: "P9", title: "growth" },
    Part { name: "P10", title: "overload" },
    Part { name: "P11", title: "weight" },
];

/// One part.
#[derive(Clone, Copy)]
pub struct Part {
    pub name: &'static str,
    pub title: &'static str,
}

impl Part {
    pub async fn measure(self, effort: Effort) -> Result<Report> {
        let mut report = Report::default();
        match self.name {
            "P1" => reads::measure(effort, &mut report)?,
            "P2" => fan_out::apart(effort, &mut report).await?,
            "P3" => fan_out::together(effort, &mut report).await?,
            "P4" => latency::measure(effort, &mut report).await?,
            "P5" => memory::measure(effort, &mut report).await?,
            "P6" => durable::measure(effort, &mut report).await?,
            "P7" => first_sync::measure(effort, &mut report).await?,
            "P8" => storm::measure(effort, &mut report).await?,
            "P9" => growth::measure(effort, &mut report)?,
            "P10" => overload::measure(effort, &mut report).await?,
            "P11" => weight::measure(&mut report)?,
            name => report.missing(format!("there is no part {name}")),
        }
        Ok(report)
    }
}
