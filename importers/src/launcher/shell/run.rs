//! Runs the tree of a script, both sides of what is not known.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::patterns::{STEPS, matches};
use super::tree::{
    Argument, Arm, ArmEnd, Command, Item, Kind, List, Pipeline, Redirect, Target, Word,
};
use super::values::{
    Doubt, Piece, State, Value, Variable, counted, derived_flags, known, pieces, unknown,
};
use super::{Ran, Shell};

/// How the commands behind one go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Flow {
    Next,
    /// Ends this number of loops.
    Break(u32),
    Continue(u32),
    Return,
    Exit,
}

/// What a `break` and its like leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Around {
    Loop,
    Function,
    Shell,
}

/// Something around the present command, with the states that may have left it.
pub(super) struct Frame {
    pub(super) around: Around,
    pub(super) left: Vec<State>,
    pub(super) continued: Vec<State>,
    /// Variables of the function alone, with their values outside.
    pub(super) locals: BTreeMap<String, Option<Rc<Variable>>>,
}

impl Frame {
    pub(super) const fn new(around: Around) -> Self {
        Self { around, left: Vec::new(), continued: Vec::new(), locals: BTreeMap::new() }
    }
}

impl Shell<'_> {
    pub(super) fn list(&mut self, list: &[Item]) -> Ran<Flow> {
        for item in list {
            let flow = match item.is_background {
                true => {
                    self.subshell(|shell| shell.chain(item))?;
                    self.status = Some(true);
                    Flow::Next
                }
                false => self.chain(item)?,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn chain(&mut self, item: &Item) -> Ran<Flow> {
        let mut rest = item.rest.as_slice();
        let mut flow = self.pipeline(&item.first, rest.is_empty())?;
        while let Some((is_and, _)) = rest.first().filter(|_| flow == Flow::Next) {
            let n = rest.iter().take_while(|(own, _)| own == is_and).count();
            let (links, later) = rest.split_at(n);
            flow = self.links(links, later.is_empty())?;
            rest = later;
        }
        Ok(flow)
    }

    /// Pipelines behind signs of one kind: behind one of unknown status the others run, or none of them does.
    fn links(&mut self, links: &[(bool, Pipeline)], is_last: bool) -> Ran<Flow> {
        let (mut flow, mut sides) = (Flow::Next, Vec::<(Flow, State, Option<bool>)>::new());
        let mut choices = 0;
        for (at, (is_and, pipeline)) in links.iter().enumerate() {
            match self.status {
                Some(is_true) if is_true != *is_and => break,
                Some(_) => {}
                None => {
                    sides.push((Flow::Next, self.copy()?, Some(!is_and)));
                    choices += u32::from(!is_and);
                    self.n_choices += u32::from(!is_and);
                }
            }
            flow = self.pipeline(pipeline, is_last && at + 1 == links.len())?;
            if flow != Flow::Next {
                break;
            }
        }
        self.n_choices -= choices;
        if choices == 0 && flow == Flow::Next {
            // A `cd` is taken to succeed.
            sides.iter_mut().for_each(|(_, side, _)| side.folder.clone_from(&self.state.folder));
        }
        self.joined_all(flow, sides)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, is_last: bool) -> Ran<Flow> {
        let is_exempt = pipeline.is_negated || !is_last;
        self.n_conditions += u32::from(is_exempt);
        let (flow, may_fail) = match pipeline.commands.as_slice() {
            [one] => (self.command(one)?, one.kind.may_fail()),
            all => (self.piped(all)?, true),
        };
        self.n_conditions -= u32::from(is_exempt);
        if pipeline.is_negated {
            self.status = self.status.map(|is_true| !is_true);
        }
        let is_judged = flow == Flow::Next && !is_exempt && self.n_conditions == 0 && may_fail;
        if is_judged && self.status == Some(false) { self.failed() } else { Ok(flow) }
    }

    /// Runs commands of which each reads what the one before prints.
    fn piped(&mut self, commands: &[Command]) -> Ran<Flow> {
        let (mut input, mut flow) = (self.state.input.take(), Flow::Next);
        let (mut status, mut code) = (Some(true), 1);
        for (at, command) in commands.iter().enumerate() {
            let passes = at + 1 < commands.len();
            let outer = self.state.output.clone();
            self.state.input = input.take();
            if passes {
                self.state.output = Some(String::new());
            }
            match !passes && self.state.has("lastpipe") {
                true => flow = self.command(command)?,
                false => self.subshell(|shell| shell.command(command))?,
            }
            if passes {
                input = std::mem::replace(&mut self.state.output, outer);
            }
            if self.status == Some(false) {
                (status, code) = (Some(false), self.code);
            }
            status = status.filter(|is_true| !is_true || self.status.is_some());
        }
        self.state.input = None;
        if self.state.has("pipefail") {
            (self.status, self.code) = (status, code);
        }
        Ok(flow)
    }

    /// Goes on behind a command that fails, by `trap .. ERR` and `set -e`.
    fn failed(&mut self) -> Ran<Flow> {
        let is_inside = self.frames.iter().any(|frame| frame.around == Around::Function);
        let trap = self.state.traps.get("ERR").filter(|_| !is_inside || self.state.has("errtrace"));
        if let Some(text) = trap.cloned() {
            let (traps, code) = (std::mem::take(&mut self.state.traps), self.code);
            let flow = self.run_text(&text)?;
            self.state.traps = traps;
            (self.status, self.code) = (Some(false), code);
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(if self.state.has("errexit") { Flow::Exit } else { Flow::Next })
    }

    /// Runs what `trap .. EXIT` has for the end of a shell.
    pub(super) fn end(&mut self) -> Ran<()> {
        if let Some(text) = self.state.traps.get("EXIT").cloned() {
            let status = (self.status, self.code);
            self.state.traps = Rc::default();
            self.run_text(&text)?;
            (self.status, self.code) = status;
        }
        Ok(())
    }

    /// Runs something in a shell of its own, of which nothing stays but what it prints.
    pub(super) fn subshell(&mut self, run: impl FnOnce(&mut Self) -> Ran<Flow>) -> Ran<()> {
        let before = self.copy()?;
        self.frames.push(Frame::new(Around::Shell));
        let conditions = self.n_conditions;
        self.state.traps = Rc::default();
        let flow = run(self)?;
        self.n_conditions = conditions;
        let frame = self.frames.pop();
        let left = frame.map(|frame| frame.left).unwrap_or_default();
        self.settle(flow, left, true);
        self.end()?;
        let ended = std::mem::replace(&mut self.state, before);
        self.state.output = ended.output;
        Ok(())
    }

    /// Goes on with all states that may be; `true` where the present one is among them.
    pub(super) fn settle(&mut self, flow: Flow, left: Vec<State>, goes_on: bool) -> Flow {
        let mut left = left.into_iter();
        if !goes_on {
            let Some(first) = left.next() else { return flow };
            let own = std::mem::replace(&mut self.state, first);
            self.park(flow, own);
        }
        for state in left {
            self.status = None;
            let own = std::mem::take(&mut self.state);
            self.state = own.merged(state);
        }
        Flow::Next
    }

    /// Keeps a state for the end of what it leaves.
    pub(super) fn park(&mut self, flow: Flow, state: State) {
        let (around, mut n) = match flow {
            Flow::Next => return,
            Flow::Break(n) | Flow::Continue(n) => (Around::Loop, n),
            Flow::Return => (Around::Function, 1),
            Flow::Exit => (Around::Shell, 1),
        };
        for frame in self.frames.iter_mut().rev() {
            if frame.around == around {
                n -= 1;
                if n == 0 {
                    match flow {
                        Flow::Continue(_) => frame.continued.push(state),
                        _ => frame.left.push(state),
                    }
                    return;
                }
            } else if frame.around == Around::Shell || flow != Flow::Exit && around == Around::Loop
            {
                return;
            }
        }
    }

    /// Goes on behind two sides, of which the present state is at the end of one.
    fn joined(&mut self, flow: Flow, (other_flow, other): (Flow, State)) -> Flow {
        match (flow, other_flow) {
            (Flow::Next, Flow::Next) => {
                let own = std::mem::take(&mut self.state);
                self.state = own.merged(other);
                Flow::Next
            }
            (Flow::Next, other_flow) => {
                self.park(other_flow, other);
                Flow::Next
            }
            (flow, other_flow) => {
                let own = std::mem::replace(&mut self.state, other);
                self.park(flow, own);
                other_flow
            }
        }
    }

    /// Joins the sides of a choice, with what runs where none of them does.
    fn joined_all(&mut self, mut flow: Flow, sides: Vec<(Flow, State, Option<bool>)>) -> Ran<Flow> {
        for (other_flow, other, status) in sides {
            self.spend(other.size())?;
            self.status = self.status.filter(|own| Some(*own) == status);
            flow = self.joined(flow, (other_flow, other));
        }
        Ok(flow)
    }

    fn command(&mut self, command: &Command) -> Ran<Flow> {
        self.enter()?;
        let flow = match &command.kind {
            Kind::Simple { assignments, arguments } => {
                self.redirected(&command.redirects, |shell| shell.simple(assignments, arguments))?
            }
            _ => self.redirected(&command.redirects, |shell| shell.compound(&command.kind))?,
        };
        self.depth -= 1;
        Ok(flow)
    }

    fn compound(&mut self, kind: &Kind) -> Ran<Flow> {
        match kind {
            Kind::Simple { .. } => Ok(Flow::Next),
            Kind::Group(list) => self.list(list),
            Kind::Subshell(list) => {
                self.subshell(|shell| shell.list(list))?;
                Ok(Flow::Next)
            }
            Kind::If { arms, otherwise } => self.branches(arms, otherwise),
            Kind::While { is_until, condition, body } => self.repeat((body, None), &mut |shell| {
                shell.n_conditions += 1;
                let flow = shell.list(condition)?;
                shell.n_conditions -= 1;
                let is_true = shell.status.map(|is_true| is_true != *is_until);
                Ok(if flow == Flow::Next { is_true } else { Some(false) })
            }),
            Kind::For { name, words, body } => self.each(name, words.as_deref(), body),
            Kind::Count { sums, body } => {
                let texts: Vec<&Word> = sums.iter().collect();
                self.sum_of(texts[0])?;
                self.repeat((body, Some(texts[2])), &mut |shell| {
                    if texts[1].is_empty() {
                        return Ok(Some(true));
                    }
                    Ok(shell.sum_of(texts[1])?.map(|value| value != 0))
                })
            }
            Kind::Case { subject, arms } => self.case(subject, arms),
            Kind::Test(test) => {
                self.status = self.tested(test)?;
                Ok(Flow::Next)
            }
            Kind::Sum(word) => {
                self.status = self.sum_of(word)?.map(|value| value != 0);
                Ok(Flow::Next)
            }
            Kind::Function { name, body } => {
                let function = super::values::Shared(body.clone());
                Rc::make_mut(&mut self.state.functions).insert(name.clone(), Some(function));
                self.status = Some(true);
                Ok(Flow::Next)
            }
            Kind::Select { name, body } => {
                let name = name.clone();
                self.repeat((body, None), &mut |shell| {
                    shell.set_text(&name, unknown(Doubt::Plain, &format!("${name}")));
                    Ok(None)
                })
            }
        }
    }

    fn branches(&mut self, arms: &[(List, List)], otherwise: &List) -> Ran<Flow> {
        let mut sides = Vec::new();
        let mut last = None;
        for (condition, body) in arms {
            self.n_conditions += 1;
            let flow = self.list(condition)?;
            self.n_conditions -= 1;
            match self.status {
                _ if flow != Flow::Next => {
                    last = Some(flow);
                    break;
                }
                Some(false) => {}
                Some(true) => {
                    last = Some(self.list(body)?);
                    break;
                }
                None => {
                    let before = self.copy()?;
                    self.n_choices += 1;
                    let flow = self.list(body)?;
                    sides.push((flow, std::mem::replace(&mut self.state, before), self.status));
                }
            }
        }
        let flow = match last {
            Some(flow) => flow,
            None => {
                self.status = Some(true);
                self.list(otherwise)?
            }
        };
        self.n_choices -= u32::try_from(sides.len()).unwrap_or(0);
        self.joined_all(flow, sides)
    }

    fn case(&mut self, subject: &Word, arms: &[Arm]) -> Ran<Flow> {
        let subject = self.text(subject)?;
        let (mut sides, mut at, mut flow, mut falls) = (Vec::new(), 0, Flow::Next, false);
        self.status = Some(true);
        while let Some(arm) = arms.get(at) {
            at += 1;
            let is_match =
                if falls { Some(true) } else { self.matches_any(&arm.patterns, &subject)? };
            falls = false;
            if is_match == Some(false) {
                continue;
            }
            let before = if is_match.is_none() { Some(self.copy()?) } else { None };
            self.n_choices += u32::from(before.is_some());
            let mut own = self.list(&arm.body)?;
            let (mut next, mut end) = (at, arm.end);
            while own == Flow::Next && end == ArmEnd::Falls && before.is_some() {
                let Some(arm) = arms.get(next) else { break };
                own = self.list(&arm.body)?;
                (next, end) = (next + 1, arm.end);
            }
            let Some(before) = before else {
                if own != Flow::Next || end == ArmEnd::Leaves {
                    flow = own;
                    break;
                }
                falls = end == ArmEnd::Falls;
                continue;
            };
            self.n_choices -= 1;
            if end == ArmEnd::Tries {
                self.status = None;
                flow = self.joined(own, (Flow::Next, before));
                continue;
            }
            sides.push((own, std::mem::replace(&mut self.state, before), self.status));
            self.status = Some(true);
        }
        self.joined_all(flow, sides)
    }

    fn matches_any(&mut self, patterns: &[Word], subject: &str) -> Ran<Option<bool>> {
        let mut any = Some(false);
        for pattern in patterns {
            let pattern = self.pattern(pattern)?;
            self.spend(subject.len().saturating_mul(pattern.len()) / STEPS)?;
            let one = known(subject).zip(known(&pattern));
            let ignores_case = self.state.has("nocasematch");
            let all = pattern.chars().all(|c| c == '*') && !pattern.is_empty();
            let one = match all {
                true => Some(true),
                false => one.and_then(|(text, pattern)| matches(&pattern, &text, ignores_case)),
            };
            any = match (any, one) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
        }
        Ok(any)
    }

    /// Runs a command with its input and output elsewhere.
    fn redirected(
        &mut self,
        redirects: &[Redirect],
        run: impl FnOnce(&mut Self) -> Ran<Flow>,
    ) -> Ran<Flow> {
        if redirects.is_empty() {
            return run(self);
        }
        let (mut input, mut file) = (None, None);
        for redirect in redirects {
            let is_output = redirect.number.is_none_or(|number| number == 1);
            match &redirect.target {
                Target::Text(text) => {
                    let text = text.get().map(|word| self.text(word)).transpose()?;
                    input = Some(text);
                }
                Target::Line(word) => input = Some(Some(self.text(word)? + "\n")),
                Target::Read(word) => {
                    let name = self.text(word)?;
                    input = Some(self.read_file(&name));
                }
                target @ (Target::Write(word) | Target::Append(word)) => {
                    let name = self.text(word)?;
                    let adds = matches!(target, Target::Append(_));
                    file = if is_output { Some((name, adds)) } else { file };
                }
                Target::Duplicate => {
                    // What goes to the other output is not taken.
                    if redirect.number.is_none() && file.is_none() && self.state.output.is_some() {
                        file = Some(("/dev/stderr".to_owned(), true));
                    }
                }
            }
        }
        let has_input = input.is_some();
        let outer_input = self.state.input.clone();
        if let Some(input) = input {
            self.state.input = input;
        }
        let outer = self.state.output.clone();
        if file.is_some() {
            self.state.output = Some(String::new());
        }
        let flow = run(self)?;
        if has_input {
            self.state.input = outer_input;
        }
        if let Some((name, adds)) = file {
            let text = std::mem::replace(&mut self.state.output, outer).unwrap_or_default();
            self.spend(text.len())?;
            let path = self.path(&name);
            if pieces(&name).iter().all(|piece| matches!(piece, Piece::Unknown { .. })) {
                self.spend(self.files.count())?;
                self.files.doubt(&format!("> {}", derived_flags(&name)));
            }
            self.files.write(&path, adds, text, self.n_choices > 0);
        }
        Ok(flow)
    }

    fn simple(
        &mut self,
        assignments: &[super::tree::Assignment],
        arguments: &[Argument],
    ) -> Ran<Flow> {
        self.has_substituted = false;
        if arguments.is_empty() {
            return self.assignments(assignments);
        }
        let mut words = Vec::new();
        let mut declared = Vec::new();
        for argument in arguments {
            match argument {
                Argument::Word(word) => words.extend(self.fields(word)?),
                Argument::Assignment(assignment) => {
                    declared.push((words.len(), self.evaluated(assignment)?));
                }
            }
        }
        // What nothing stays of is no command.
        if words.is_empty() {
            return self.assignments(assignments);
        }
        let mut own = Vec::new();
        for assignment in assignments {
            let before = self.state.variables.get(&assignment.name).cloned();
            own.push((assignment.name.clone(), before));
            self.assign(assignment)?;
            self.state.change(&assignment.name).exported = Some(true);
        }
        let names: Vec<String> = own.iter().map(|(name, _)| name.clone()).collect();
        let flow = self.started(&names, &words, declared)?;
        for (name, before) in own {
            let all = Rc::make_mut(&mut self.state.variables);
            match before {
                Some(before) => drop(all.insert(name, before)),
                None => drop(all.remove(&name)),
            }
        }
        Ok(flow)
    }

    /// A command of assignments alone.
    fn assignments(&mut self, assignments: &[super::tree::Assignment]) -> Ran<Flow> {
        for assignment in assignments {
            self.assign(assignment)?;
        }
        if !self.has_substituted {
            self.status = Some(true);
        }
        Ok(Flow::Next)
    }

    /// Calls a function.
    pub(super) fn call(&mut self, body: &Command, arguments: &[String]) -> Ran<Flow> {
        self.enter()?;
        let arguments = std::mem::replace(&mut self.state.arguments, Rc::new(arguments.to_vec()));
        let was_bare = std::mem::replace(&mut self.state.is_bare, false);
        self.frames.push(Frame::new(Around::Function));
        let flow = self.command(body)?;
        let Some(Frame { left, locals, .. }) = self.frames.pop() else { return Ok(flow) };
        let goes_on = matches!(flow, Flow::Next | Flow::Return);
        let flow = self.settle(flow, left, goes_on);
        let all = Rc::make_mut(&mut self.state.variables);
        for (name, before) in locals {
            match before {
                Some(before) => drop(all.insert(name, before)),
                None => drop(all.remove(&name)),
            }
        }
        (self.state.arguments, self.state.is_bare) = (arguments, was_bare);
        self.depth -= 1;
        Ok(flow)
    }

    /// What a list prints.
    pub(super) fn output_of(&mut self, list: &List, shown: &str) -> Ran<String> {
        self.enter()?;
        let outer = self.state.output.replace(String::new());
        self.n_substituted += 1;
        self.subshell(|shell| {
            if !shell.state.has("inherit_errexit") {
                shell.state.switch("errexit", false);
            }
            shell.list(list)
        })?;
        self.n_substituted -= 1;
        self.depth -= 1;
        self.has_substituted = true;
        let text = std::mem::replace(&mut self.state.output, outer).unwrap_or_default();
        let end = text.trim_end_matches('\n').len();
        let text = &text[..end];
        let of_program = |piece: &Piece<'_>| matches!(piece, Piece::Unknown { shown, .. } if shown.starts_with("$("));
        match pieces(text).iter().any(of_program) {
            true => Ok(counted(&super::values::derived(text, shown), true)),
            false => Ok(text.to_owned()),
        }
    }

    /// Sets a variable to a text.
    pub(super) fn set_text(&mut self, name: &str, text: String) {
        self.set(name, Value::Text(text));
    }
}
