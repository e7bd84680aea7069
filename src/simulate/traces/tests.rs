//! Whole traces, as users have them: sound, damaged, packed, half there.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const DAY_1: &str = "invocations_per_function_md.anon.d01.csv";
const DAY_2: &str = "invocations_per_function_md.anon.d02.csv";
const DAY_4: &str = "invocations_per_function_md.anon.d04.csv";
const DURATIONS_1: &str = "function_durations_percentiles.anon.d01.csv";
const MEMORY_1: &str = "app_memory_percentiles.anon.d01.csv";
const SINGLE: &str = "AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt";

/// What is read: by app and function the cells.
type Counted = BTreeMap<String, Vec<(u32, u32)>>;

/// Files of a folder: name and content.
type Files<'a> = Vec<(&'a str, &'a [u8])>;

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn read(files: &[(&str, &[u8])]) -> Result<Trace, String> {
    let folder = folder(files);
    open(folder.path(), |_, _| ()).map_err(|error| hide(&error.to_string(), folder.path()))
}

/// The message without the folder's name, which differs each time.
fn hide(text: &str, folder: &Path) -> String {
    text.replace(&folder.display().to_string(), "DIR")
}

fn counted(trace: &Trace) -> Counted {
    (0..)
        .zip(trace.functions())
        .map(|(index, function)| (format!("{}/{}", function.app, function.name), trace.cells(index).collect()))
        .collect()
}

fn of(cells: &[(&str, &[(u32, u32)])]) -> Counted {
    cells.iter().map(|(name, cells)| ((*name).to_owned(), cells.to_vec())).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[test]
fn what_is_sound_is_read_and_the_rest_is_said() {
    const ROW: &[u8] = b"HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,http,1,0,2\n";
    let sound = of(&[("a/f", &[(0, 1), (2, 2)])]);
    let packed = gzip(ROW);
    let cut = [ROW, b"o,a,g,http,1,2"].concat();
    let in_two = [gzip(&ROW[..50]), gzip(&ROW[50..])].concat();
    let cases: Vec<(&str, Files, Counted, &str)> = vec![
        ("sound", vec![(DAY_1, ROW)], sound.clone(), ""),
        (
            "Windows line ends, byte-order mark, blank lines, no last line end",
            vec![(DAY_1, b"\xef\xbb\xbfHashOwner,HashApp,HashFunction,Trigger,1,2,3\r\n\r\no,a,f,http,1,0,2\r\n \r\no,a,g,http,0,0,1")],
            of(&[("a/f", &[(0, 1), (2, 2)]), ("a/g", &[(2, 1)])]),
            "",
        ),
        ("packed", vec![("invocations_per_function_md.anon.d01.csv.gz", &packed)], sound.clone(), ""),
        ("packed in two members, named as if not", vec![(DAY_1, &in_two)], sound.clone(), ""),
        (
            "packed and not",
            vec![(DAY_1, ROW), ("invocations_per_function_md.anon.d01.csv.gz", &packed)],
            sound.clone(),
            "",
        ),
        ("a copy that an editor left", vec![(DAY_1, ROW), (".invocations_per_function_md.anon.d01.csv.swp", ROW), ("invocations_per_function_md.anon.d01.csv~", ROW)], sound.clone(), ""),
        (
            "counts of all sorts",
            vec![(DAY_1, b"HashApp,HashFunction,Trigger,1,2,3,4,5,6,7,8,9\na,f,http,, 3 ,+4,5.0,-6,7.5,8e8,4294967296,nan\n")],
            of(&[("a/f", &[(1, 3), (2, 4), (3, 5)])]),
            "5 cells of invocations_per_function_md.anon.d01.csv could not be read: first at line 2: '-6' is no count",
        ),
        (
            "short and long rows",
            vec![(DAY_1, b"HashApp,HashFunction,Trigger,1,2,3\na,f,http,1\na,g,http,1,2,3,0,4,\na,h,http,1,2,3,,\na,i,http\na,j\n")],
            of(&[("a/f", &[(0, 1)]), ("a/g", &[(0, 1), (1, 2), (2, 3)]), ("a/h", &[(0, 1), (1, 2), (2, 3)])]),
            "2 rows and 4 cells of invocations_per_function_md.anon.d01.csv could not be read: first at line 2: it ends after 4 of 6 columns",
        ),
        (
            "rows without names, or moved by a column",
            vec![(DAY_1, b"HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,,f,http,1,2,3\no,a, ,http,1,2,3\no,\xff,f,http,1,2,3\na,f,http,1,2,3\no,a,f,http,1,0,2\n")],
            sound.clone(),
            "4 rows of invocations_per_function_md.anon.d01.csv could not be read: first at line 2: it names no app",
        ),
        (
            "cut off in mid-row",
            vec![(DAY_1, &cut)],
            sound.clone(),
            "1 row of invocations_per_function_md.anon.d01.csv could not be read: first at line 3: the file breaks off here",
        ),
        (
            "quotes, of which one is open",
            vec![(DAY_1, b"HashOwner,HashApp,HashFunction,\"Trigger\",1,2,3\n\"o\",\"a,\"\"1\",\"f\",http,\"1\",0,2\no,a,\"f,http,1,0,2\no,a,f,http,1,0,2\n")],
            of(&[("a,\"1/f", &[(0, 1), (2, 2)]), ("a/f", &[(0, 1), (2, 2)])]),
            "1 row of invocations_per_function_md.anon.d01.csv could not be read: first at line 3: it has 3 of 7 columns",
        ),
        (
            "columns of another order",
            vec![(DAY_1, b"3,Trigger,HashFunction,1,HashApp,0,1441,2,2\n2,http,f,1,a,9,9,5,6\n0,http,g,0,a,0,0,0,0\n")],
            of(&[("a/f", &[(0, 1), (1, 11), (2, 2)]), ("a/g", &[])]),
            "2 cells of invocations_per_function_md.anon.d01.csv could not be read: first at line 1: column '0' is no minute from 1 to 1440",
        ),
        (
            "days out of order, one missing, a function in two of them and twice in a day",
            vec![
                (DAY_4, b"HashApp,HashFunction,Trigger,1,2,3\na,f,http,1,0,0\n"),
                (DAY_2, b"HashApp,HashFunction,Trigger,1,2,3\na,f,http,0,1,1\nb,f,http,0,1,0\na,f,http,1,4294967295,0\n"),
            ],
            of(&[("a/f", &[(0, 1), (1, u32::MAX), (2, 1), (2880, 1)]), ("b/f", &[(1, 1)])]),
            "",
        ),
        (
            "a day that is none",
            vec![(DAY_1, ROW), (DAY_2, b"<html>\n"), (DAY_4, b"")],
            sound.clone(),
            "invocations_per_function_md.anon.d02.csv is left out: its first row names no column 'HashApp', and so with 1 more",
        ),
        (
            "durations and memory that can't be read",
            vec![(DAY_1, ROW), (DURATIONS_1, b"HashOwner,HashApp,HashFunction,Average\no,a,f,\no,a,f,NaN\no,a,g,7\n"), (MEMORY_1, b"nonsense")],
            sound.clone(),
            "2 rows of function_durations_percentiles.anon.d01.csv could not be read: first at line 2: '' is no number from 0 to 1e12\n\
             app_memory_percentiles.anon.d01.csv is left out: its first row names no column 'HashApp'",
        ),
        (
            "single invocations",
            vec![(SINGLE, b"\xef\xbb\xbfapp,func,end_timestamp,duration\r\na,f,60.5,0.75\r\na,f,NaN,1\r\na,g,-1,1\r\na,f,,1\r\n\r\na,f,61,1,more\r\na,f,200\r\na,f,0.5,1\r\n,f,1,1\r\n\"b\",\"f\",1e300,1\r\na,f,300,0.0")],
            of(&[("a/f", &[(0, 2), (1, 1), (5, 1)])]),
            "6 rows of AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt could not be read: first at line 3: 'NaN' is no number from 0 to 1e11",
        ),
    ];
    for (name, files, expected, said) in cases {
        let trace = read(&files).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(counted(&trace), expected, "{name}");
        assert_eq!(trace.skipped().to_string(), said, "{name}");
        let sum: u64 = expected.values().flatten().map(|(_, count)| u64::from(*count)).sum();
        assert_eq!(trace.invocations(), sum, "{name}");
    }
}

#[test]
fn what_is_no_trace_is_said_in_one_line() {
    const HEADER: &[u8] = b"HashOwner,HashApp,HashFunction,Trigger,1,2,3\n";
    let no_counts = [HEADER, b"o,a,f,http,0,,0\n"].concat();
    let bad_counts = [HEADER, b"o,a,f,http,x,0,0\n"].concat();
    let torn = &gzip(HEADER)[..12];
    let cases: Vec<(Files, &str)> = vec![
        (vec![], "'DIR' holds no trace: found nothing, expected invocations_"),
        (
            vec![("a.txt", b""), ("b\n.txt", b""), ("c", b""), ("d.rar", b"")],
            "'DIR' holds no trace: found 'a.txt', 'b\\n.txt', 'c' and 1 more, expected invocations_",
        ),
        (vec![(DAY_1, b"")], "'DIR/invocations_per_function_md.anon.d01.csv' is no trace: it is empty; expected"),
        (
            vec![(DAY_1, b"a,b\n")],
            "is no trace: its first row names no column 'HashApp'; expected the columns HashApp, ",
        ),
        (vec![(DAY_1, b"HashApp,HashFunction,Trigger,x\n")], "is no trace: its first row names no minute; expected"),
        (vec![(DAY_1, b"PK\x03\x04....")], "is no trace: it is a zip archive: unpack it first; expected"),
        (vec![(DAY_1, torn)], "is no trace: it can't be unpacked further ("),
        (vec![(SINGLE, b"app,func,duration\n")], "is no trace: its first row names no column 'end_timestamp'"),
        (vec![(DAY_1, HEADER)], "'DIR' holds no invocations: it has no rows that say anything"),
        (vec![(DAY_1, &no_counts)], "'DIR' holds no invocations: all counts of its 1 functions are 0 or blank"),
        (vec![(DAY_1, &bad_counts)], "are 0 or blank; 1 cell of invocations_per_function_md.anon.d01.csv could not be"),
        (
            vec![(SINGLE, b"app,func,end_timestamp,duration")],
            "'DIR' holds no invocations: it has no rows that say anyt",
        ),
    ];
    for (files, said) in cases {
        let error = read(&files).unwrap_err();
        assert!(error.contains(said), "{error}\n  instead of\n{said}");
        assert!(!error.contains('\n') && !error.contains('\0'), "{error:?}");
    }
    assert!(
        open(Path::new("/nowhere"), |_, _| ()).unwrap_err().to_string().starts_with("trace '/nowhere' can't be read: ")
    );
}

#[test]
fn a_file_alone_is_a_trace() {
    const ROWS: &[u8] = b"HashApp,HashFunction,Trigger,480,481\na,f,timer,1,2\n";
    const OTHER: &[u8] = b"HashApp,HashFunction,Trigger,1,2\na,f,timer,7,7\n";
    let folder = folder(&[
        (DAY_1, OTHER),
        (DAY_2, ROWS),
        ("mine.csv", ROWS),
        (DURATIONS_1, b"HashApp,HashFunction,Average\na,f,1\n"),
        ("function_durations_percentiles.anon.d02.csv", b"HashApp,HashFunction,Average\na,f,2\n"),
        ("app_memory_percentiles.anon.d02.csv", b"HashApp,AverageAllocatedMb\na,200\n"),
        ("2021", b"app,func,end_timestamp,duration\na,f,3,1\n"),
        ("noise.bin", b"\x00\x01\x02"),
    ]);
    let file = |name: &str| open(&folder.path().join(name), |_, _| ());
    for (name, duration_ms, memory_mb) in [(DAY_2, 2.0, Some(200.0)), ("mine.csv", 0.0, None)] {
        let trace = file(name).unwrap();
        assert_eq!(counted(&trace), of(&[("a/f", &[(479, 1), (480, 2)])]), "{name}");
        assert_eq!((trace.begin_ms(), trace.end_ms()), (479 * MINUTE_MS, 481 * MINUTE_MS), "{name}");
        assert_eq!((trace.duration_ms(0), trace.functions()[0].memory_mb), (duration_ms, memory_mb), "{name}");
        assert!(trace.singles().is_none());
    }
    assert_eq!(file("2021").unwrap().singles().unwrap().len(), 1);
    let error = file("noise.bin").unwrap_err().to_string();
    assert!(
        error.contains("noise.bin' is no trace: it begins with '\\0\\u{1}\\u{2}'; expected the columns"),
        "{error}"
    );
}

#[test]
fn what_is_packed_and_cut_off_is_read_up_to_there() {
    let mut rows = b"HashApp,HashFunction,Trigger,1,2\n".to_vec();
    for i in 0..20_000_u64 {
        // Not to be packed too well.
        writeln!(rows, "a,f{i}-{:x},http,1,2", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
    }
    let packed = gzip(&rows);
    let trace = read(&[(DAY_1, &packed[..packed.len() / 2])]).unwrap();
    let functions = trace.functions().len();
    assert!((5_000..15_000).contains(&functions), "{functions}");
    assert_eq!(trace.invocations(), 3 * functions as u64);
    let said = trace.skipped().to_string();
    let begin = format!("{DAY_1} breaks off after line {}: it can't be unpacked further (", functions + 1);
    assert!(said.starts_with(&begin), "{said}\n{begin}");
    let whole = read(&[(DAY_1, &packed)]).unwrap();
    assert_eq!((whole.functions().len(), whole.skipped().is_empty()), (20_000, true));
}

#[test]
fn a_row_without_an_end_is_given_up() {
    let mut rows = b"HashApp,HashFunction,Trigger,1\na,f,http,1\n".to_vec();
    rows.resize(rows.len() + (40 << 20), b'7');
    let trace = read(&[(DAY_1, &rows)]).unwrap();
    assert_eq!(trace.invocations(), 1);
    assert_eq!(
        trace.skipped().to_string(),
        format!("{DAY_1} breaks off after line 2: the next row is longer than 16 MB")
    );
}

#[test]
fn many_blocks_are_read_in_order() {
    let mut rows = b"HashApp,HashFunction,Trigger".to_vec();
    (1..=1440).for_each(|minute| write!(rows, ",{minute}").unwrap());
    for i in 0..6_000_u32 {
        write!(rows, "\na{},f{i},http", i / 7).unwrap();
        (0..1440).for_each(|minute| write!(rows, ",{}", u32::from(minute % 1000 == i % 1000)).unwrap());
    }
    rows.extend_from_slice(b"\nb,f,http,x");
    rows.resize(rows.len() + 1439 * 2, b',');
    let folder = folder(&[(DAY_1, &rows)]);
    let last = std::cell::Cell::new((0, 0));
    let trace = open(folder.path(), |done, total| {
        assert!(done >= last.get().0 && done <= total, "{done} of {total} after {:?}", last.get());
        last.set((done, total));
    })
    .unwrap();
    assert_eq!(last.get(), (rows.len() as u64, rows.len() as u64));
    for i in 0..6_000 {
        assert_eq!(&*trace.functions()[i].name, format!("f{i}"));
        let minute = i as u32 % 1000;
        let expected: Vec<_> = [minute, minute + 1000].into_iter().filter(|minute| *minute < 1440).collect();
        assert_eq!(trace.cells(i as u32).map(|(minute, _)| minute).collect::<Vec<_>>(), expected);
    }
    assert_eq!(trace.apps()[1].functions, (7..14).collect::<Vec<_>>());
    let first = trace.skipped().invocations.first.clone().unwrap();
    assert_eq!((first.line, first.reason.as_str()), (6_002, "'x' is no count"));
}

#[test]
fn single_invocations_in_the_order_of_their_starts() {
    let trace =
        read(&[(SINGLE, b"app,func,end_timestamp,duration\na,f,100,1\nb,f,70,69.5\na,g,61,0.25\na,f,99.5,1\n")])
            .unwrap();
    let starts: Vec<_> = trace.singles().unwrap().iter().map(|arrival| (arrival.at_ms, arrival.function)).collect();
    assert_eq!(starts, [(500, 1), (60_750, 2), (98_500, 0), (99_000, 0)]);
    assert_eq!(trace.arrivals(Placement::Even).collect::<Vec<_>>(), trace.singles().unwrap());
    assert_eq!(counted(&trace), of(&[("a/f", &[(1, 2)]), ("a/g", &[(1, 1)]), ("b/f", &[(0, 1)])]));
    assert_eq!((trace.begin_ms(), trace.end_ms(), trace.duration_ms(1)), (0, 100_000, 69_500.0));
    let apps: Vec<_> = trace.apps().iter().map(|app| (&*app.app, app.functions.clone())).collect();
    assert_eq!(apps, [("a", vec![0, 2]), ("b", vec![1])]);
}

#[test]
fn durations_and_memory_of_the_last_day_count() {
    let trace = read(&[
        (DAY_1, b"HashApp,HashFunction,Trigger,1\na,f,http,1\na,g,,1\nb,f,http,1\n"),
        (DURATIONS_1, b"HashApp,HashFunction,Average\na,f,1\nb,f,3\n"),
        ("function_durations_percentiles.anon.d02.csv", b"HashApp,HashFunction,Average\na,f,2\nz,f,9\n"),
        (MEMORY_1, b"HashApp,AverageAllocatedMb\na,100\nz,1\n"),
    ])
    .unwrap();
    assert_eq!([0, 1, 2, 3].map(|function| trace.duration_ms(function)), [2.0, 0.0, 3.0, 0.0]);
    let memory: Vec<_> = trace.functions().iter().map(|function| function.memory_mb).collect();
    assert_eq!(memory, [Some(100.0), Some(100.0), None]);
    assert_eq!(trace.apps().iter().map(|app| app.memory_mb).collect::<Vec<_>>(), [Some(100.0), None]);
    assert_eq!(trace.functions()[1].trigger, None);
}

/// A file as anybody would read it: the whole of it with the `csv` crate.
fn straightforward(bytes: &[u8]) -> Counted {
    let mut reader = ::csv::ReaderBuilder::new().flexible(true).trim(::csv::Trim::All).from_reader(bytes);
    let header = reader.headers().unwrap().clone();
    let place = |name: &str| header.iter().position(|column| column == name).unwrap();
    let mut counted = Counted::new();
    for row in reader.records() {
        let row = row.unwrap();
        let cells = counted.entry(format!("{}/{}", &row[place("HashApp")], &row[place("HashFunction")])).or_default();
        for (label, cell) in header.iter().zip(&row) {
            if let (Ok(minute), Ok(count @ 1..)) = (label.parse::<u32>(), cell.parse::<u32>()) {
                cells.push((minute - 1, count));
            }
        }
        add_up(cells);
    }
    counted
}

/// Rows of `(app, function, counts)`; quoted where `quoted` says so.
fn file_of(rows: &[(u8, u8, Vec<Option<u32>>)], first_minute: u32, quoted: bool, line_end: &str) -> Vec<u8> {
    let width = rows.iter().map(|(.., counts)| counts.len() as u32).max().unwrap_or(0).max(1);
    let mut text = "HashOwner,HashApp,HashFunction,Trigger".to_owned();
    (first_minute..first_minute + width).for_each(|minute| text += &format!(",{minute}"));
    for (app, function, counts) in rows {
        text += line_end;
        text += &if quoted && function % 2 == 0 {
            format!("o,\"app,{app}\",\"fun\"\"ction{function}\",http")
        } else {
            format!("o,app{app},function{function},http")
        };
        for i in 0..width as usize {
            text.push(',');
            text += &counts.get(i).copied().flatten().map_or(String::new(), |count| count.to_string());
        }
    }
    text += line_end;
    text.into_bytes()
}

fn any_rows() -> impl Strategy<Value = Vec<(u8, u8, Vec<Option<u32>>)>> {
    let count = prop_oneof![12 => Just(Some(0)), 3 => (1u32..300).prop_map(Some), 1 => any::<u32>().prop_map(Some), 1 => Just(None)];
    prop::collection::vec((0u8..4, 0u8..4, prop::collection::vec(count, 1..60)), 1..12)
}

proptest! {
    #[test]
    fn as_the_straightforward_reader(
        rows in any_rows(),
        first_minute in 1u32..1380,
        quoted in any::<bool>(),
        crlf in any::<bool>(),
        packed in any::<bool>(),
    ) {
        let bytes = file_of(&rows, first_minute, quoted, if crlf { "\r\n" } else { "\n" });
        let expected = straightforward(&bytes);
        let file = if packed { gzip(&bytes) } else { bytes };
        match read(&[(DAY_1, &file)]) {
            Ok(trace) => {
                prop_assert_eq!(counted(&trace), expected);
                prop_assert!(trace.skipped().is_empty(), "{}", trace.skipped());
            }
            Err(error) => {
                prop_assert!(error.contains("holds no invocations"), "{}", error);
                prop_assert!(expected.values().all(Vec::is_empty));
            }
        }
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), header in 0usize..4, name in 0usize..4) {
        let header: &[u8] = [
            &b""[..], b"HashApp,HashFunction,Trigger,1,2,3\n", b"app,func,end_timestamp,duration\n", b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
        ][header];
        let bytes = [header, &bytes].concat();
        let name = [DAY_1, SINGLE, DURATIONS_1, "x"][name];
        let folder = folder(&[(name, &bytes)]);
        for path in [folder.path().to_owned(), folder.path().join(name)] {
            if let Err(error) = open(&path, |_, _| ()) {
                prop_assert!(!error.to_string().contains('\n'), "{}", error);
            }
        }
    }

    /// Whatever happens to one row, the others are read.
    #[test]
    fn damage_stays_in_its_row(
        at in 0usize..10_000,
        damage in prop::collection::vec(any::<u8>(), 0..6),
        removed in 0usize..6,
        packed in any::<bool>(),
    ) {
        let rows: Vec<String> =
            (0..5).map(|i| format!("owner-{i},application-{i},function-{i},http,{i},0,0,0,0,12,0,3,,0,1\n")).collect();
        let mut file = b"HashOwner,HashApp,HashFunction,Trigger,1,2,3,4,5,6,7,8,9,10,11\n".to_vec();
        let header = file.len();
        file.extend_from_slice(rows.concat().as_bytes());
        let sound = counted(&read(&[(DAY_1, &file)]).unwrap());
        // Within the third row, up to its line end.
        let length = rows[0].len();
        let begin = header + 2 * length + at % (length - removed);
        let end = (begin + removed).min(header + 3 * length - 1);
        file.splice(begin.min(end)..end, damage);
        let file = if packed { gzip(&file) } else { file };
        let found = counted(&read(&[(DAY_1, &file)]).unwrap());
        for (name, cells) in sound.iter().filter(|(name, _)| !name.contains("-2")) {
            prop_assert_eq!(found.get(name), Some(cells));
        }
    }

    #[test]
    fn built_from_memory(cells in prop::collection::vec(prop::collection::vec((0u32..5000, 0u32..50), 0..40), 0..8)) {
        let functions = (0..cells.len()).map(|i| Function {
            app: format!("a{}", i / 2).into(),
            name: format!("f{i}").into(),
            trigger: None,
            memory_mb: (i % 2 == 1).then_some(64.0),
        });
        let trace = Trace::from_cells(functions.collect(), vec![5.0], cells.iter().cloned(), 100);
        let mut last = 100;
        for (function, cells) in (0..).zip(&cells) {
            let mut expected: BTreeMap<u32, u32> = BTreeMap::new();
            for (minute, count) in cells.iter().filter(|(_, count)| *count > 0) {
                *expected.entry(*minute).or_default() += count;
                last = last.max(minute + 1);
            }
            prop_assert_eq!(trace.cells(function).collect::<BTreeMap<_, _>>(), expected);
            prop_assert_eq!(trace.duration_ms(function), if function == 0 { 5.0 } else { 0.0 });
        }
        prop_assert_eq!(trace.end_ms(), i64::from(last) * MINUTE_MS);
        prop_assert_eq!(trace.arrivals(Placement::Even).count() as u64, trace.invocations());
        prop_assert!(trace.apps().iter().all(|app| app.memory_mb == (app.functions.len() > 1).then_some(64.0)));
    }
}
