//! The tree of a script.

use std::cell::OnceCell;
use std::rc::Rc;

/// A word as written, by its parts.
pub(super) type Word = Vec<Part>;
/// Commands, one behind the other.
pub(super) type List = Vec<Item>;

#[derive(Debug)]
pub(super) enum Part {
    /// Letters without quotes.
    Text(String),
    /// Letters that mean themselves.
    Quoted(String),
    /// What double quotes enclose.
    Double(Word),
    Parameter(Box<Parameter>),
    /// `$(..)`, with how it is shown.
    Output(Rc<List>, String),
    /// `$((..))`, with how it is shown.
    Sum(Word, String),
    /// `<(..)`, which is a file.
    Process(Rc<List>),
}

/// `$name` or `${name..}`.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) index: Option<Index>,
    /// `${!name}`.
    pub(super) is_indirect: bool,
    pub(super) operation: Operation,
    /// How it is shown.
    pub(super) shown: String,
}

#[derive(Debug)]
pub(super) enum Index {
    /// `[@]`, or `[*]` that joins.
    All {
        joins: bool,
    },
    Key(Word),
}

#[derive(Debug)]
pub(super) enum Operation {
    None,
    Length,
    /// `-`, `=`, `+` or `?`, behind a colon or not.
    Default {
        sign: char,
        has_colon: bool,
        word: Word,
    },
    /// `#` or `%`.
    Trim {
        sign: char,
        is_longest: bool,
        pattern: Word,
    },
    /// `/`, with `/`, `#` or `%` behind it.
    Replace {
        kind: Option<char>,
        pattern: Word,
        by: Word,
    },
    /// `^` or `,`.
    Case {
        sign: char,
        is_all: bool,
    },
    Slice {
        from: Word,
        length: Option<Word>,
    },
    /// One that is not followed.
    Other,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) first: Pipeline,
    /// Those behind `&&` (true) and `||`.
    pub(super) rest: Vec<(bool, Pipeline)>,
    pub(super) is_background: bool,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) is_negated: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) kind: Kind,
    pub(super) redirects: Vec<Redirect>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Simple {
        assignments: Vec<Assignment>,
        arguments: Vec<Argument>,
    },
    Group(List),
    Subshell(List),
    If {
        arms: Vec<(List, List)>,
        otherwise: List,
    },
    While {
        is_until: bool,
        condition: List,
        body: List,
    },
    /// `for name in words`; those of the script without `in`.
    For {
        name: String,
        words: Option<Vec<Word>>,
        body: List,
    },
    /// `for ((..; ..; ..))`.
    Count {
        sums: [Word; 3],
        body: List,
    },
    Case {
        subject: Word,
        arms: Vec<Arm>,
    },
    Test(Test),
    Sum(Word),
    Function {
        name: String,
        body: Rc<Command>,
    },
    /// Reads choices from a terminal.
    Select {
        name: String,
        body: List,
    },
}

impl Kind {
    /// Whether `set -e` looks at the status of such a command itself.
    pub(super) const fn may_fail(&self) -> bool {
        matches!(self, Self::Simple { .. } | Self::Subshell(_) | Self::Test(_) | Self::Sum(_))
    }
}

/// A pattern of a `case` with its commands.
#[derive(Debug)]
pub(super) struct Arm {
    pub(super) patterns: Vec<Word>,
    pub(super) body: List,
    pub(super) end: ArmEnd,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ArmEnd {
    /// `;;`.
    Leaves,
    /// `;&`.
    Falls,
    /// `;;&`.
    Tries,
}

#[derive(Debug)]
pub(super) enum Argument {
    Word(Word),
    /// One of `export` and its like.
    Assignment(Assignment),
}

/// `name=value`, `name[key]+=value` or `name=(..)`.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) key: Option<Word>,
    pub(super) adds: bool,
    pub(super) value: Assigned,
}

#[derive(Debug)]
pub(super) enum Assigned {
    Scalar(Word),
    Array(Vec<(Option<Word>, Word)>),
}

#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) number: Option<u32>,
    pub(super) target: Target,
}

#[derive(Debug)]
pub(super) enum Target {
    Read(Word),
    Write(Word),
    Append(Word),
    /// `>&1` and its like.
    Duplicate,
    /// A here-document.
    Text(Rc<OnceCell<Word>>),
    /// `<<<`.
    Line(Word),
}

/// What `[[ ]]` encloses.
#[derive(Debug)]
pub(super) enum Test {
    Not(Box<Test>),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Word(Word),
    Unary(String, Word),
    Binary(Word, String, Word),
}

/// The commands of a `$(..)`: a file alone, `< file`, is printed.
pub(super) fn printed(mut list: List) -> List {
    if let [Item { first: Pipeline { commands, .. }, rest, .. }] = list.as_mut_slice()
        && let ([command], []) = (commands.as_mut_slice(), rest.as_slice())
        && let [Redirect { target: Target::Read(_), .. }] = command.redirects.as_slice()
        && let Kind::Simple { assignments, arguments } = &mut command.kind
        && assignments.is_empty()
        && arguments.is_empty()
    {
        arguments.push(Argument::Word(vec![Part::Text("cat".to_owned())]));
    }
    list
}
