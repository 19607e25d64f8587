//! A flag of LaunchDarkly, from data that the test gives it: no network.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use launchdarkly_server_sdk::{
    Client, ConfigBuilder, ContextBuilder, FlagBuilder, NullEventProcessorBuilder, TestData,
};

use crate::beside::read_beside;
use crate::time;

const NAME: &str = "LaunchDarkly bool_variation";
const START: Duration = Duration::from_secs(10);

pub fn measure() -> Result<()> {
    let data = TestData::new();
    for n in 0..1000 {
        data.update(FlagBuilder::new(format!("number-{n}")).variation_for_all(true));
    }
    let config =
        ConfigBuilder::new("no key").data_source(&data).event_processor(&NullEventProcessorBuilder::new());
    let client = Client::build(config.build()?)?;
    client.start_with_runtime()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("there is no runtime")?;
    let started = runtime.block_on(client.wait_for_initialization(START));
    ensure!(started == Some(true), "it does not start");
    let context = ContextBuilder::new("somebody").build().map_err(anyhow::Error::msg)?;
    let read = || client.bool_variation(&context, black_box("number-500"), false);
    ensure!(read(), "it does not hold the flag");
    time("alone", NAME, read);
    read_beside(read, || time("on 2 threads", NAME, read));
    Ok(())
}
