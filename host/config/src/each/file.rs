//! The file of rows: CSV as RFC 4180 has it, whose first line names the columns. It is read as a stream, and nothing of it is believed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ByteRecord, ErrorKind, Position};
use sha2::{Digest as _, Sha256};

use crate::document::quoted;
use crate::each::CODE;
use crate::leak;
use crate::problem::{Place, Problem};

/// More rows are not read.
const ROWS_MAX: u64 = 1_000_000;
/// A longer row is not read.
const ROW_BYTES_MAX: u64 = 64 << 10;
/// So much is read at a time.
const BLOCK_BYTES: usize = 64 << 10;
/// A longer cell is no part of a name or a setting.
const CELL_BYTES_MAX: usize = 4 << 10;

/// What one row may make the reader read, and what was read.
struct Bounded {
    file: File,
    /// What may still be read before the next row.
    left: Arc<AtomicU64>,
    hash: Arc<std::sync::Mutex<Sha256>>,
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        let left = self.left.load(Ordering::Relaxed);
        if read as u64 > left {
            return Err(io::Error::other(TOO_LONG));
        }
        self.left.store(left - read as u64, Ordering::Relaxed);
        let mut hash = self
            .hash
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        hash.update(&into[..read]);
        Ok(read)
    }
}

const TOO_LONG: &str = "a row of more than 64 KiB: is a quote not closed?";

/// The rows of a file, one after the other.
pub(crate) struct Rows {
    reader: csv::Reader<Bounded>,
    left: Arc<AtomicU64>,
    hash: Arc<std::sync::Mutex<Sha256>>,
    path: PathBuf,
    header: Arc<Vec<String>>,
    /// The columns that are taken, and where they stand.
    taken: Vec<(String, usize)>,
    record: ByteRecord,
    count: u64,
    over: bool,
}

/// One row: the cells that are taken, by their columns.
pub(crate) struct Cells {
    pub(crate) by_column: BTreeMap<String, String>,
    pub(crate) offset: u64,
    pub(crate) line: u64,
}

impl Rows {
    /// Opens a file and reads the names of its columns, of which these are taken.
    ///
    /// # Errors
    /// What is wrong with it: it cannot be read, its first line names no columns or one twice, or not one that is taken.
    pub(crate) fn open<'c>(path: &Path, taken: impl Iterator<Item = &'c str>) -> Result<Self, Vec<Problem>> {
        let unreadable = |error: &io::Error| {
            let hint = "it must be a CSV file that the host's user may read; a relative path starts at the configuration's folder";
            vec![at_line(path, 1, format!("cannot read the rows: {error}"), hint)]
        };
        // A pipe or a device may give nothing, or never end.
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        if !metadata.is_file() {
            return Err(unreadable(&io::Error::other("it is not a regular file")));
        }
        let file = File::open(path).map_err(|error| unreadable(&error))?;
        let left = Arc::new(AtomicU64::new(0));
        let hash = Arc::new(std::sync::Mutex::new(Sha256::new()));
        let bounded = Bounded {
            file,
            left: Arc::clone(&left),
            hash: Arc::clone(&hash),
        };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .buffer_capacity(BLOCK_BYTES)
            .from_reader(bounded);
        let mut rows = Self {
            reader,
            left,
            hash,
            path: path.to_owned(),
            header: Arc::default(),
            taken: Vec::new(),
            record: ByteRecord::new(),
            count: 0,
            over: false,
        };
        rows.read_header(taken)?;
        Ok(rows)
    }

    fn read_header<'c>(&mut self, taken: impl Iterator<Item = &'c str>) -> Result<(), Vec<Problem>> {
        let found = self.read_record().map_err(|problem| vec![*problem])?;
        if !found {
            let hint = "the first line names the columns, each other line is a rotation";
            return Err(vec![at_line(&self.path, 1, "the file is empty".to_owned(), hint)]);
        }
        let mut header = Vec::new();
        let mut problems = Vec::new();
        for (field, name) in self.record.iter().enumerate() {
            let name = if field == 0 {
                name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name)
            } else {
                name
            };
            let Ok(name) = std::str::from_utf8(name) else {
                return Err(vec![self.problem(
                    field,
                    "not UTF-8 text",
                    "save the file as UTF-8",
                )]);
            };
            if header.iter().any(|other| other == name) {
                let message = format!("two columns are named {}", quoted(name));
                problems.push(self.problem(field, &message, "rename one"));
            }
            header.push(name.to_owned());
        }
        for column in taken {
            match header.iter().position(|name| name == column) {
                Some(field) if leak::names_a_value(column) => {
                    let message = format!(
                        "the column {} looks like one of secrets' values; a configuration holds only names of secrets",
                        quoted(column)
                    );
                    problems.push(self.problem(
                        field,
                        &message,
                        "take it out, and change what others could read",
                    ));
                }
                Some(field) => self.taken.push((column.to_owned(), field)),
                None => {
                    let known: Vec<&str> = header.iter().map(String::as_str).collect();
                    let hint = match crate::nearest(column, &known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!(
                            "the first line names the columns; it has {}",
                            quoted(&known.join(", "))
                        ),
                    };
                    let message = format!("there is no column {}, which the template takes", quoted(column));
                    problems.push(self.problem(0, &message, &hint));
                }
            }
        }
        self.header = Arc::new(header);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Where the columns stand.
    pub(crate) fn header(&self) -> &Arc<Vec<String>> {
        &self.header
    }

    /// How many rows were read.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The next row; none: the file is over. After what cannot be read nothing comes.
    pub(crate) fn next(&mut self) -> Option<Result<Cells, Box<Problem>>> {
        if self.over {
            return None;
        }
        match self.read_record() {
            Ok(true) if self.count == ROWS_MAX => {
                self.over = true;
                let message = format!("there are more than {ROWS_MAX} rows");
                Some(Err(Box::new(self.problem(
                    0,
                    &message,
                    "divide them between hosts",
                ))))
            }
            Ok(true) => {
                self.count += 1;
                Some(self.cells())
            }
            Ok(false) => {
                self.over = true;
                None
            }
            Err(problem) => {
                // A row with too many or too few cells is over; what else is wrong may be wrong with all that follows.
                self.over = !problem.message.contains(RAGGED);
                Some(Err(problem))
            }
        }
    }

    /// What was read, once the file is over.
    pub(crate) fn digest(&self) -> String {
        let hash = self
            .hash
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        hex(hash.clone())
    }

    fn read_record(&mut self) -> Result<bool, Box<Problem>> {
        // The block in hand may end with the row.
        self.left
            .store(ROW_BYTES_MAX + BLOCK_BYTES as u64, Ordering::Relaxed);
        let before = self.reader.position().clone();
        let read = self.reader.read_byte_record(&mut self.record);
        read.map_err(|error| Box::new(self.unreadable(&error, &before)))
    }

    fn unreadable(&self, error: &csv::Error, before: &Position) -> Problem {
        match error.kind() {
            ErrorKind::UnequalLengths {
                pos,
                expected_len,
                len,
            } => {
                let at = pos.as_ref().unwrap_or(before);
                let place = place(&self.path, at.byte(), at.line(), 0);
                let message = format!("{RAGGED} {len}, and the first line names {expected_len}");
                of(
                    place,
                    message,
                    "each row has a cell for each column; one with a comma or a quote in it stands in quotes",
                )
            }
            ErrorKind::Io(error) => {
                let hint = "each row stands on a line of its own; a cell with a comma or a quote in it stands in quotes";
                let place = place(&self.path, before.byte(), before.line(), 0);
                of(place, format!("cannot be read on from here: {error}"), hint)
            }
            _ => of(
                place(&self.path, before.byte(), before.line(), 0),
                "is no CSV".to_owned(),
                "RFC 4180 says what that is",
            ),
        }
    }

    fn cells(&self) -> Result<Cells, Box<Problem>> {
        let mut cells = BTreeMap::new();
        for (column, field) in &self.taken {
            let bytes = self.record.get(*field).unwrap_or_default();
            let Ok(cell) = std::str::from_utf8(bytes) else {
                return Err(Box::new(self.problem(
                    *field,
                    "not UTF-8 text",
                    "save the file as UTF-8",
                )));
            };
            if cell.is_empty() {
                let message = format!("the column `{column}` is empty, and the template takes it");
                return Err(Box::new(self.problem(
                    *field,
                    &message,
                    "fill it in, or take the row out",
                )));
            }
            if cell.len() > CELL_BYTES_MAX {
                let message = format!("a cell of more than {CELL_BYTES_MAX} bytes");
                return Err(Box::new(self.problem(*field, &message, "is a quote not closed?")));
            }
            if cell.chars().any(char::is_control) {
                let message = format!("the column `{column}` has a line break or another control character");
                return Err(Box::new(self.problem(
                    *field,
                    &message,
                    "take it out; is a quote not closed?",
                )));
            }
            if let Some(what) = leak::recognise(cell) {
                let message = format!("this looks like {what}; a configuration holds only names of secrets");
                let hint = "take it out, and change it if others could read this file";
                return Err(Box::new(Problem {
                    code: "config.secret-value",
                    ..self.problem(*field, &message, hint)
                }));
            }
            cells.insert(column.clone(), cell.to_owned());
        }
        let at = self.record.position();
        Ok(Cells {
            by_column: cells,
            offset: at.map_or(0, Position::byte),
            line: at.map_or(1, Position::line),
        })
    }

    fn problem(&self, field: usize, message: &str, hint: &str) -> Problem {
        let at = self.record.position();
        let (offset, line) = (at.map_or(0, Position::byte), at.map_or(1, Position::line));
        of(place(&self.path, offset, line, field), message.to_owned(), hint)
    }
}

/// How it begins to say that a row has another number of cells than there are columns.
const RAGGED: &str = "the cells of this row are";

fn of(place: Place, message: String, hint: &str) -> Problem {
    Problem::of_cell(place, CODE, message, hint.to_owned())
}

/// A problem of a whole line.
pub(crate) fn at_line(path: &Path, line: usize, message: String, hint: &str) -> Problem {
    let place = Place {
        file: path.to_owned(),
        line,
        column: 1,
    };
    of(place, message, hint)
}

/// Where a cell stands, in a row that begins at an offset, or behind the empty lines that are there. Read again: only what is wrong has to be found.
pub(crate) fn place(path: &Path, offset: u64, line: u64, field: usize) -> Place {
    let mut place = Place {
        file: path.to_owned(),
        line: usize::try_from(line).unwrap_or(usize::MAX),
        column: 1,
    };
    let mut text = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        BufReader::new(file.take(ROW_BYTES_MAX)).read_to_end(&mut text)
    });
    if read.is_err() {
        return place;
    }
    let text = String::from_utf8_lossy(&text);
    let mut chars = text.trim_start_matches('\u{feff}').chars().peekable();
    while let Some(c) = chars.next_if(|c| matches!(c, '\r' | '\n')) {
        place.line += usize::from(c == '\n');
    }
    let (mut left, mut is_quoted) = (field, false);
    for c in chars {
        match c {
            _ if left == 0 => break,
            '\r' | '\n' if !is_quoted => break,
            '\n' => {
                place.line += 1;
                place.column = 0;
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => left -= 1,
            _ => {}
        }
        place.column += 1;
    }
    place
}

/// The digest of a file as it is now.
///
/// # Errors
/// It cannot be read.
pub(crate) fn digest(path: &Path) -> Result<String, Box<Problem>> {
    let read = File::open(path).and_then(|mut file| {
        let (mut hash, mut block) = (Sha256::new(), vec![0; BLOCK_BYTES]);
        loop {
            match file.read(&mut block)? {
                0 => return Ok(hash),
                read => hash.update(&block[..read]),
            }
        }
    });
    let hint = "it must be a CSV file that the host's user may read";
    read.map(hex)
        .map_err(|error| Box::new(at_line(path, 1, format!("cannot read the rows: {error}"), hint)))
}

pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
