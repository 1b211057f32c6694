//! The log's file: closed at a size, closed files numbered, compressed and given up by number and by age.
//!
//! Rotation is `logroller`'s. Here is what it leaves open: closed files that are too old, what a kill left of a rotation,
//! and going on after trouble. A line that can't be written is dropped and counted, and the file is opened again a second
//! later: the log never fails, never waits for space, and never ends who writes it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use logroller::{Compression, LogRoller, LogRollerBuilder, LogRollerError, Rotation, RotationSize};

/// Of a file that is made here: it names what people keep in their folders. One that is there keeps its own.
const MODE: u32 = 0o600;
/// How soon a file that failed is opened again.
const RETRY: Duration = Duration::from_secs(1);
/// How often closed files are looked through for old ones.
const TIDY: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFileOptions {
    pub path: PathBuf,
    /// bytes; the file is closed before a line that would pass it
    pub size_bytes_max: u64,
    /// closed files that are kept; 0: all
    pub closed_max: u32,
    /// days that a closed file is kept; 0: for ever
    pub age_days_max: u32,
    /// closed files are compressed
    pub compress: bool,
}

/// Why a log can't be kept in a file.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    #[error("{} can't be opened for writing", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is no regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} can't be kept in rotation", path.display())]
    Rotation { path: PathBuf, source: LogRollerError },
}

/// The file, open for lines. Writing to it always succeeds.
pub struct LogFile {
    options: LogFileOptions,
    /// `None` while it can't be written.
    roller: Option<LogRoller>,
    retry_at: Instant,
    tidy_at: Instant,
    /// lines dropped since the last one that was written
    dropped: u64,
}

impl LogFile {
    /// Opens it, with the folders above it.
    pub fn open(options: LogFileOptions) -> Result<Self, LogFileError> {
        let roller = open(&options)?;
        let now = Instant::now();
        let mut file = Self { options, roller: Some(roller), retry_at: now, tidy_at: now, dropped: 0 };
        for leftover in closed(&file.options.path).iter().filter(|closed| closed.half) {
            // What a kill left of a compression; the whole content lies beside it.
            let _ = std::fs::remove_file(&leftover.path);
        }
        file.tidy();
        Ok(file)
    }

    fn try_write(&mut self, line: &[u8]) -> Result<(), String> {
        let roller = match &mut self.roller {
            Some(roller) => roller,
            None => self.roller.insert(open(&self.options).map_err(|error| told(&error))?),
        };
        // It tells troubles of its own with `eprintln!`, which panics where stderr can't be written either.
        match catch_unwind(AssertUnwindSafe(|| roller.write_all(line))) {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("its rotation failed".to_owned()),
        }
    }

    /// Closed files beyond the number or the age go. Those that can't be removed are tried again later.
    fn tidy(&mut self) {
        self.tidy_at = Instant::now() + TIDY;
        let (number, days) = (self.options.closed_max as usize, self.options.age_days_max);
        let oldest = (days > 0).then(|| SystemTime::now().checked_sub(DAY * days)).flatten();
        let mut files = closed(&self.options.path);
        files.retain(|closed| !closed.half);
        files.sort_by_key(|closed| std::cmp::Reverse(closed.since));
        for (index, file) in files.iter().enumerate() {
            let beyond = number > 0 && index >= number;
            if beyond || oldest.is_some_and(|oldest| file.since < oldest) {
                let _ = std::fs::remove_file(&file.path);
            }
        }
    }
}

impl Write for LogFile {
    /// Takes one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let now = Instant::now();
        if now >= self.tidy_at {
            self.tidy();
        }
        if self.roller.is_none() && now < self.retry_at {
            self.dropped += 1;
            return Ok(line.len());
        }
        let path = self.options.path.display().to_string();
        match self.try_write(line) {
            Ok(()) if self.dropped > 0 => {
                tell(&format!("the log {path} is written again; {} lines were dropped", self.dropped));
                self.dropped = 0;
            }
            Ok(()) => {}
            Err(why) => {
                if self.dropped == 0 {
                    tell(&format!("the log {path} can't be written ({why}): lines are dropped until it can"));
                }
                self.dropped += 1;
                self.roller = None;
                self.retry_at = now + RETRY;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a log that can't be written is told: on stderr, if that can be.
fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "gosync agent: {message}");
}

fn told(error: &LogFileError) -> String {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", cause.unwrap_or_default())
}

fn open(options: &LogFileOptions) -> Result<LogRoller, LogFileError> {
    let path = &options.path;
    let (mode, torn) = prepare(path)?;
    let mut builder = LogRollerBuilder::new(path.parent().unwrap_or(Path::new("")), Path::new(name(path)))
        .rotation(Rotation::SizeBased(RotationSize::Bytes(options.size_bytes_max)))
        .file_mode(mode);
    if options.closed_max > 0 {
        builder = builder.max_keep_files(options.closed_max.into());
    }
    if options.compress {
        builder = builder.compression(Compression::Gzip);
    }
    let mut roller = builder.build().map_err(|source| LogFileError::Rotation { path: path.clone(), source })?;
    if torn {
        // Best effort: at worst two lines are one.
        let _ = roller.write_all(b"\n");
    }
    Ok(roller)
}

/// Makes the file where it is missing. Its mode, and whether its last line was cut off.
fn prepare(path: &Path) -> Result<(u32, bool), LogFileError> {
    let failed = |source| LogFileError::Open { path: path.to_owned(), source };
    let not_a_file = || LogFileError::NotAFile { path: path.to_owned() };
    // Before it is opened: a pipe without a reader would be waited for.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) || name(path).is_empty() {
        return Err(not_a_file());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    let torn = found.len() > 0 && last().is_ok_and(|byte| byte != b'\n');
    Ok((found.permissions().mode() & 0o7777, torn))
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A file that was the log once.
struct Closed {
    path: PathBuf,
    since: SystemTime,
    /// Being compressed, or left so.
    half: bool,
}

/// `<name>.<number>`, `<name>.<number>.gz`, and before they have their number `<name>.pending.<number>`.
fn closed(log: &Path) -> Vec<Closed> {
    let folder = log.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for entry in entries {
        let file = entry.file_name();
        let Some(rest) = file.to_str().and_then(|file| file.strip_prefix(name(log))?.strip_prefix('.')) else {
            continue;
        };
        let half = rest.strip_suffix(".gz.tmp");
        let number = half.or(rest.strip_suffix(".gz")).unwrap_or(rest);
        let number = number.strip_prefix("pending.").unwrap_or(number);
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        if let Ok(facts) = entry.metadata()
            && facts.is_file()
            && let Ok(since) = facts.modified()
        {
            found.push(Closed { path: entry.path(), since, half: half.is_some() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may stop at the first surprise")]
    use std::collections::BTreeSet;

    use super::*;

    fn options(folder: &Path) -> LogFileOptions {
        LogFileOptions {
            path: folder.join("agent.log"),
            size_bytes_max: 100,
            closed_max: 3,
            age_days_max: 30,
            compress: false,
        }
    }

    /// As the subscriber does it: a line in one piece.
    fn say(log: &mut LogFile, line: &str) {
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Closed files are numbered and compressed beside the writing.
    fn until(folder: &Path, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        for _ in 0..3_000 {
            if names(folder) == wanted {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?} instead of {wanted:?}", names(folder));
    }

    fn set_age(path: &Path, days: u32) {
        let then = SystemTime::now() - DAY * days;
        File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn the_file_is_closed_at_its_size_and_no_line_is_lost_or_cut() {
        let temp = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(options(temp.path())).unwrap();
        for number in 0..9 {
            say(&mut log, &format!("line {number} {}", "x".repeat(30)));
        }
        until(temp.path(), &["agent.log", "agent.log.1", "agent.log.2", "agent.log.3"]);
        let kept = ["agent.log.3", "agent.log.2", "agent.log.1", "agent.log"];
        let text: String = kept.iter().map(|name| std::fs::read_to_string(temp.path().join(name)).unwrap()).collect();
        let numbers: Vec<&str> = text.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(numbers, ["2", "3", "4", "5", "6", "7", "8"], "{text}");
    }

    #[test]
    fn closed_files_are_compressed() {
        let temp = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(LogFileOptions { compress: true, ..options(temp.path()) }).unwrap();
        for _ in 0..3 {
            say(&mut log, &"x".repeat(60));
        }
        until(temp.path(), &["agent.log", "agent.log.1.gz", "agent.log.2.gz"]);
        assert_eq!(std::fs::read(temp.path().join("agent.log.1.gz")).unwrap()[..2], [0x1f, 0x8b]);
    }

    #[test]
    fn closed_files_beyond_the_number_or_the_age_go_whatever_they_are_called() {
        let temp = tempfile::tempdir().unwrap();
        let ages = [
            ("agent.log", 90),
            ("agent.log.1.gz", 1),
            ("agent.log.pending.7", 2),
            ("agent.log.2", 3),
            ("agent.log.4.gz", 4),
            ("agent.log.9.gz", 31),
            ("agent.log.pending.8.gz.tmp", 1),
            // Somebody else's.
            ("agent.log.1.bak", 90),
            ("agent.log.old", 90),
            ("other.log.1", 90),
        ];
        for (name, days) in ages {
            std::fs::write(temp.path().join(name), "x\n").unwrap();
            set_age(&temp.path().join(name), days);
        }
        drop(LogFile::open(options(temp.path())).unwrap());
        let others = ["agent.log", "agent.log.1.bak", "agent.log.old", "other.log.1"];
        let all = |mine: &[&str]| others.iter().chain(mine).map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(names(temp.path()), all(&["agent.log.1.gz", "agent.log.2", "agent.log.pending.7"]));
        let limits = LogFileOptions { closed_max: 0, age_days_max: 2, ..options(temp.path()) };
        drop(LogFile::open(limits).unwrap());
        assert_eq!(names(temp.path()), all(&["agent.log.1.gz"]));
        set_age(&temp.path().join("agent.log.1.gz"), 900);
        drop(LogFile::open(LogFileOptions { closed_max: 0, age_days_max: 0, ..options(temp.path()) }).unwrap());
        assert_eq!(names(temp.path()), all(&["agent.log.1.gz"]), "0 is no limit");
    }

    #[test]
    fn a_log_that_is_there_is_continued_on_a_line_of_its_own_with_the_mode_it_has() {
        let temp = tempfile::tempdir().unwrap();
        let options = options(&temp.path().join("a/b"));
        say(&mut LogFile::open(options.clone()).unwrap(), "first");
        let mode = || std::fs::metadata(&options.path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::write(&options.path, "first\ncut of").unwrap();
        std::fs::set_permissions(&options.path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let mut log = LogFile::open(options.clone()).unwrap();
        say(&mut log, "next");
        assert_eq!(std::fs::read_to_string(&options.path).unwrap(), "first\ncut of\nnext\n");
        say(&mut log, &"x".repeat(90));
        assert!(std::fs::read_to_string(&options.path).unwrap().starts_with('x'));
        assert_eq!(mode(), 0o640, "of the next file too");
    }

    #[test]
    fn what_is_no_file_or_can_not_be_made_is_refused_by_its_path() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        for (path, why) in [
            (PathBuf::from("/dev/null"), "/dev/null is no regular file"),
            (temp.path().to_owned(), "is no regular file"),
            (temp.path().join("file/agent.log"), "file/agent.log can't be opened for writing"),
        ] {
            let error = LogFile::open(LogFileOptions { path, ..options(temp.path()) }).map(drop).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn trouble_costs_lines_and_ends_with_its_cause() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("logs");
        let mut log = LogFile::open(options(&folder)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "in the way").unwrap();
        // The rotation fails, and so does every second look.
        for _ in 0..10 {
            say(&mut log, &"x".repeat(60));
        }
        assert!(log.dropped > 0);
        std::fs::remove_file(&folder).unwrap();
        for _ in 0..3_000 {
            say(&mut log, "again");
            if log.dropped == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(std::fs::read_to_string(folder.join("agent.log")).unwrap(), "again\n");
    }
}
