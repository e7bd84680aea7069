//! The functions of an app: for people to look at; no decision rests on them.

use crate::checkpoint::{Columns, Number};
use crate::model::{Invocation, Status};

use super::Triggers;

/// Functions of an app that are told apart: its first ones. What others do is counted together.
const MOST_FUNCTIONS: usize = 64;

/// What is counted of each function of an app, the one that ran last first. Most apps have one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Functions(Box<[Function]>);

/// What is counted of one function.
#[derive(Debug, Clone, Default, PartialEq)]
struct Function {
    /// `None`: all those beyond [`MOST_FUNCTIONS`] together.
    name: Option<Box<str>>,
    /// Its triggers, as far as events told them.
    triggers: Triggers,
    /// Invocations.
    invocations: u64,
    /// Those whose status was none of success.
    failed: u32,
    /// Start of the execution that started last, epoch ms.
    last_start_ms: i64,
    /// All durations together, ms.
    duration_ms: f64,
    /// The longest duration, ms.
    longest_ms: f64,
}

impl Functions {
    /// Takes one more invocation into account.
    pub fn count(&mut self, invocation: &Invocation) {
        let name = &*invocation.function;
        if !self.0.first().is_some_and(|function| function.is(name)) {
            self.bring_forward(name);
        }
        if let Some(function) = self.0.first_mut() {
            function.count(invocation);
        }
    }

    /// Puts what `name` is counted under first.
    #[cold]
    fn bring_forward(&mut self, name: &str) {
        let position = |is_it: &dyn Fn(&Function) -> bool| self.0.iter().position(is_it);
        let known = position(&|function| function.is(name)).or_else(|| position(&|function| function.name.is_none()));
        let at = known.unwrap_or_else(|| {
            let is_one_of_the_first = self.0.len() < MOST_FUNCTIONS;
            let mut functions = std::mem::take(&mut self.0).into_vec();
            functions.reserve_exact(1);
            functions.push(Function { name: is_one_of_the_first.then(|| name.into()), ..Function::default() });
            self.0 = functions.into_boxed_slice();
            self.0.len() - 1
        });
        self.0.swap(0, at);
    }

    /// As columns: a list for each field.
    pub fn columns(&mut self, columns: &mut impl Columns) {
        let mut all = std::mem::take(&mut self.0).into_vec();
        let mut names: Vec<_> = all.iter_mut().map(|function| function.name.take().map(String::from)).collect();
        columns.texts("function_names", &mut names);
        all.resize_with(names.len(), Function::default);
        let mut list = Lists { all: &mut all, columns };
        list.of("function_triggers", |function| &mut function.triggers.0);
        list.of("function_invocations", |function| &mut function.invocations);
        list.of("function_failed", |function| &mut function.failed);
        list.of("function_last_start_ms", |function| &mut function.last_start_ms);
        list.of("function_duration_ms", |function| &mut function.duration_ms);
        list.of("function_longest_ms", |function| &mut function.longest_ms);
        for (function, name) in all.iter_mut().zip(names) {
            function.name = name.map(String::into_boxed_str);
        }
        self.0 = all.into_boxed_slice();
    }
}

struct Lists<'a, C> {
    all: &'a mut [Function],
    columns: &'a mut C,
}

impl<C: Columns> Lists<'_, C> {
    fn of<T: Number>(&mut self, name: &'static str, field: fn(&mut Function) -> &mut T) {
        let mut values: Vec<T> = self.all.iter_mut().map(|function| *field(function)).collect();
        self.columns.list(name, &mut values);
        for (function, value) in self.all.iter_mut().zip(values) {
            *field(function) = value;
        }
    }
}

impl Function {
    fn is(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }

    fn count(&mut self, invocation: &Invocation) {
        self.triggers.add(invocation.trigger);
        self.last_start_ms = self.last_start_ms.max(invocation.started_at_ms);
        self.invocations += 1;
        let has_failed = invocation.status.is_some_and(|status| status != Status::Ok);
        self.failed = self.failed.saturating_add(u32::from(has_failed));
        self.duration_ms += invocation.duration_ms;
        self.longest_ms = self.longest_ms.max(invocation.duration_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Reader, RowWriter, read_rows};
    use crate::model::Trigger;

    fn counted(invocations: impl IntoIterator<Item = (String, i64, f64)>) -> Functions {
        let mut functions = Functions::default();
        for (name, start_ms, duration_ms) in invocations {
            let mut invocation = Invocation::new("app", &name, start_ms, duration_ms);
            invocation.trigger = name.ends_with('1').then_some(Trigger::Queue);
            invocation.status = Some(if duration_ms > 60.0 { Status::Timeout } else { Status::Ok });
            functions.count(&invocation);
        }
        functions
    }

    #[test]
    fn each_is_counted_by_itself_and_those_past_the_limit_together() {
        // Each of 70 functions runs three times; those past the first 64 are in one row.
        let names = (0..3 * 70).map(|i| (format!("f{}", i % 70), i, i as f64 / 2.0));
        let functions = counted(names);
        assert_eq!(functions.0.len(), MOST_FUNCTIONS + 1);
        for function in functions.0.iter() {
            let (invocations, last_start_ms, duration_ms) = match function.name.as_deref() {
                Some(name) => {
                    let i: i64 = name[1..].parse().unwrap();
                    (3, i + 140, (3 * i + 210) as f64 / 2.0)
                }
                None => (18, 209, (64..70).map(|i| f64::from(3 * i + 210) / 2.0).sum()),
            };
            assert_eq!((function.invocations, function.last_start_ms), (invocations, last_start_ms), "{function:?}");
            assert_eq!((function.duration_ms, function.longest_ms), (duration_ms, last_start_ms as f64 / 2.0));
        }
        let failed: u32 = functions.0.iter().map(|function| function.failed).sum();
        assert_eq!(failed, 210 - 121, "those that took more than 60 ms");
        assert_eq!(functions.0.iter().next().unwrap().name, None, "what ran last is first");
    }

    #[test]
    fn what_was_saved_is_loaded_again_and_there_is_nothing_in_what_was_saved_without() {
        let names = |n| (0..n).map(|i: i64| (format!("f{i}"), i, 0.1));
        let rows = [counted(names(0)), counted(names(1)), counted(names(80))];
        let mut writer = RowWriter::default();
        for row in &rows {
            let mut written = row.clone();
            writer.row(|columns| written.columns(columns)).unwrap();
            assert_eq!(&written, row, "saving changes nothing");
        }
        let mut read = Vec::new();
        let mut keep = |columns: &mut Reader<'_>| {
            let mut functions = Functions::default();
            functions.columns(columns);
            read.push(functions);
        };
        read_rows(&writer.finish().unwrap(), &mut keep).unwrap();
        let mut earlier = RowWriter::default();
        earlier.row(|columns| columns.number("invocations", &mut 7_u64)).unwrap();
        read_rows(&earlier.finish().unwrap(), &mut keep).unwrap();
        assert_eq!(read[..3], rows);
        assert_eq!(read[3], Functions::default());
    }
}
