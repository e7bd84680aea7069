//! One file per format of events. Each says whether its time is the start or the end of an execution.

pub mod native;
