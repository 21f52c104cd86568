//! One operation.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::{Kernel, Origin, Work};
use ir::units::Bytes;

use super::bound::{Bound, Direction, Scalar, What};
use super::{Builder, MAX_STEPS};
use crate::stablehlo::fault::shown;
use crate::stablehlo::rules::{self, Kind};
use crate::stablehlo::syntax::{Operation, Region, ValueId, numbers};

/// Calls and regions within each other.
const MAX_DEPTH: usize = 128;

/// Largest result that is taken as computed beforehand where all operands are constants, in bytes.
const MOST_FOLDED: u64 = 1_024;

type Done = Result<(), Diagnostic>;

impl<'p, 't> Builder<'p, 't> {
    /// Runs through a region; what it hands back.
    pub(super) fn run(&mut self, region: &'p Region<'t>) -> Result<Vec<Bound>, Diagnostic> {
        self.depth += 1;
        for op in &region.operations {
            self.n_steps += 1;
            if self.n_steps > MAX_STEPS {
                let message = format!("functions unfold to more than {MAX_STEPS} operations");
                return Err(self.fault(op.at, "inline-budget", message));
            }
            if self.depth > MAX_DEPTH {
                let message = format!("more than {MAX_DEPTH} calls and regions within each other");
                return Err(self.fault(op.at, "nesting-limit", message));
            }
            self.step(op)?;
        }
        self.depth -= 1;
        Ok(region.returned().iter().map(|value| self.what(*value)).collect())
    }

    fn step(&mut self, op: &'p Operation<'t>) -> Done {
        let Some((kind, op_type)) = rules::find(op.short()) else {
            self.unknown(op, &shown(op.name));
            return Ok(());
        };
        // What nobody can read is no work.
        if op.n_results == 0 && !kind.may_be_silent() {
            return Ok(());
        }
        match kind {
            Kind::Pointwise => return self.pointwise(op, op_type),
            Kind::Streams | Kind::Picks | Kind::Updates | Kind::Scatters => {
                self.moved(op, op_type, kind);
            }
            Kind::Creates => self.creates(op, op_type),
            Kind::View => self.view(op, op_type)?,
            Kind::Same => {
                self.keep_sharding(op);
                self.same(op);
            }
            Kind::Cast => self.cast(op, op_type),
            Kind::Transpose => self.transpose(op)?,
            Kind::Spread => self.spread(op)?,
            Kind::Constant => self.constant(op),
            Kind::DotGeneral => self.dot(op)?,
            Kind::Convolution => self.convolution(op)?,
            Kind::Reduce => self.reduce(op)?,
            Kind::ReduceWindow => self.reduce_window(op),
            Kind::Call => self.call(op)?,
            Kind::CustomCall => self.custom_call(op)?,
            Kind::While => self.loop_over(op)?,
            Kind::Branch => self.branch(op)?,
            Kind::Manual => self.manual(op)?,
            Kind::Collective => self.collective(op, op_type),
            Kind::Return | Kind::Nothing => {}
        }
        Ok(())
    }

    /// An operation without a rule: its bytes, as a guess.
    pub(super) fn unknown(&mut self, op: &Operation<'t>, what: &str) {
        self.note("unknown-op", what);
        let op_type = what.replace('.', "::");
        let reads = self.data(op);
        let kernel = Kernel { origin: Origin::Guessed, ..self.streams(op, &reads) };
        self.emit(op, &op_type, Work::Kernel(kernel), &reads);
    }

    /// Extents that must be those of another tensor, where both are known.
    pub(super) fn alike(
        &self,
        op: &Operation<'t>,
        value: ValueId,
        wanted: &[u64],
        why: &str,
    ) -> Done {
        match self.shape(value) {
            Some(stated) if stated != wanted => {
                let message = format!("{why}: {stated:?} is stated where {wanted:?} follows");
                Err(self.fault(op.at, "shape-mismatch", message))
            }
            _ => Ok(()),
        }
    }

    fn pointwise(&mut self, op: &'p Operation<'t>, op_type: &str) -> Done {
        let is_broadcast = op.short().starts_with(b"broadcast_");
        if let (Some(shape), false) =
            (self.shape(op.first_result), is_broadcast || op.n_results != 1)
        {
            for operand in &op.operands {
                let is_scalar = self.tensor_type(*operand).is_some_and(|t| t.elements() == Some(1));
                if !is_scalar {
                    self.alike(op, *operand, &shape, "operands and result differ")?;
                }
            }
        }
        let op_type = match op_type {
            "Compare" => rules::comparison(direction(op)),
            "-" => "",
            known => known,
        };
        let scalar = self.scalar(op);
        if !op.operands.is_empty()
            && op.operands.iter().all(|value| self.is_constant(*value))
            && self.fold(op, scalar)
        {
            return Ok(());
        }
        let reads: Vec<TensorId> = op
            .operands
            .iter()
            .filter_map(|value| self.place_narrow(self.what(*value).what))
            .collect();
        let work = Work::Kernel(self.streams(op, &reads));
        let name = shown(op.name).replace('.', "::");
        self.emit(op, if op_type.is_empty() { &name } else { op_type }, work, &reads);
        if let (1, What::Tensor(_)) = (op.n_results, self.what(op.first_result).what) {
            self.bind(op.first_result, self.what(op.first_result).what, scalar);
        }
        Ok(())
    }

    /// Takes a small result of constants as a constant.
    fn fold(&mut self, op: &Operation<'t>, scalar: Scalar) -> bool {
        let is_small = |value: ValueId| {
            self.tensor_type(value)
                .is_some_and(|t| t.elements().is_some() && t.bytes().get() <= MOST_FOLDED)
        };
        let is_splat = op.operands.iter().all(|value| self.is_splat(*value));
        if op.n_results != 1 || !(is_splat || is_small(op.first_result)) {
            return false;
        }
        let of = self.program.types_of[op.first_result as usize];
        let what = self.add_constant(self.label(op), of, is_splat, false);
        self.bind(op.first_result, what, scalar);
        true
    }

    /// An op that moves memory: operands that are scalar constants only steer it.
    pub(super) fn moved(&mut self, op: &Operation<'t>, op_type: &str, kind: Kind) {
        if op.short() == b"dynamic_slice"
            && let Some(layer) = self.layer(op)
        {
            return self.bind(op.first_result, What::Tensor(layer), Scalar::Unknown);
        }
        let reads = self.data(op);
        let mut kernel = self.streams(op, &reads);
        let size = |value: &ValueId| match self.what(*value).what {
            What::Tensor(tensor) => self.graph.tensor(tensor).bytes,
            _ => self.tensor_type(*value).map_or(Bytes::ZERO, |t| t.bytes()),
        };
        let of = |values: &[ValueId]| -> Bytes { values.iter().map(size).sum() };
        match kind {
            Kind::Picks => {
                let others = op.operands.get(1..).unwrap_or_default();
                kernel.bytes_read = kernel.bytes_written + of(others);
            }
            // Compilers write an update in place.
            Kind::Updates => {
                let update = of(op.operands.get(1..2).unwrap_or_default());
                kernel = Kernel { bytes_read: update, bytes_written: update, ..kernel };
            }
            // As many updates as results, behind the indices.
            Kind::Scatters => {
                let updates = op.operands.get(op.n_results as usize + 1..).unwrap_or_default();
                kernel.bytes_written += of(updates);
            }
            _ => {}
        }
        self.emit(op, op_type, Work::Kernel(kernel), &reads);
    }

    /// Tensors that an operation reads, each once; scalar constants left out.
    pub(super) fn data(&mut self, op: &Operation<'t>) -> Vec<TensorId> {
        let mut reads = Vec::new();
        for value in &op.operands {
            let is_scalar = self.tensor_type(*value).is_some_and(|t| t.elements() == Some(1));
            if is_scalar && self.is_constant(*value) {
                continue;
            }
            let placed = self.place(self.what(*value).what);
            reads.extend(placed.filter(|tensor| !reads.contains(tensor)));
        }
        reads
    }

    fn creates(&mut self, op: &Operation<'t>, op_type: &str) {
        let is_small = self.written(op).get() <= MOST_FOLDED;
        if op_type == "Range" && is_small && op.operands.is_empty() && op.n_results == 1 {
            let of = self.program.types_of[op.first_result as usize];
            let what = self.add_constant(self.label(op), of, false, false);
            self.bind(op.first_result, what, Scalar::Unknown);
            return;
        }
        let reads = self.data(op);
        let kernel = Kernel { bytes_written: self.written(op), ..Kernel::default() };
        self.emit(op, op_type, Work::Kernel(kernel), &reads);
    }

    fn constant(&mut self, op: &Operation<'t>) {
        let of = self.program.types_of.get(op.first_result as usize).copied().unwrap_or_default();
        let text = op.clause(&["dense", "value"]).unwrap_or_default();
        let inner = text.strip_prefix(b"dense<").unwrap_or_default();
        let is_one = self.tensor_type(op.first_result).is_some_and(|t| t.elements() == Some(1));
        // A list or a string of bytes holds each element.
        let is_splat = is_one || !matches!(inner.first(), Some(b'[' | b'"') | None);
        let what = self.add_constant(self.label(op), of, is_splat, true);
        let end = inner.iter().position(|byte| *byte == b'>').unwrap_or(0);
        let scalar = match numbers(&inner[..end.min(64)]).as_slice() {
            [number] if is_one && !inner[..end].contains(&b'.') => Scalar::Known(*number),
            _ => Scalar::Unknown,
        };
        self.bind(op.first_result, what, scalar);
    }

    /// What is known of a result of scalars.
    fn scalar(&self, op: &Operation<'t>) -> Scalar {
        let of = |place: usize| op.operands.get(place).map(|value| self.what(*value).scalar);
        let (Some(a), Some(b)) = (of(0), of(1)) else { return Scalar::Unknown };
        match (op.short(), a, b) {
            (b"select", Scalar::Known(0), _) => of(2).unwrap_or_default(),
            (b"select", Scalar::Known(_), then) => then,
            (b"compare", Scalar::Known(a), Scalar::Known(b)) => {
                Scalar::Known(i64::from(holds(direction(op), a, b)))
            }
            (b"add", Scalar::Known(a), Scalar::Known(b)) => known(a.checked_add(b)),
            (b"subtract", Scalar::Known(a), Scalar::Known(b)) => known(a.checked_sub(b)),
            (b"multiply", Scalar::Known(a), Scalar::Known(b)) => known(a.checked_mul(b)),
            (b"maximum", Scalar::Known(a), Scalar::Known(b)) => known(Some(a.max(b))),
            (b"minimum", Scalar::Known(a), Scalar::Known(b)) => known(Some(a.min(b))),
            (b"add", Scalar::Counter { of, place, more }, Scalar::Known(n))
            | (b"add", Scalar::Known(n), Scalar::Counter { of, place, more }) => {
                counter(of, place, more.checked_add(n))
            }
            (b"subtract", Scalar::Counter { of, place, more }, Scalar::Known(n)) => {
                counter(of, place, more.checked_sub(n))
            }
            (b"compare", Scalar::Counter { of, place, more }, Scalar::Known(limit)) => {
                test(direction(op), false).map_or(Scalar::Unknown, |direction| Scalar::Test {
                    of,
                    place,
                    more,
                    limit,
                    direction,
                })
            }
            (b"compare", Scalar::Known(limit), Scalar::Counter { of, place, more }) => {
                test(direction(op), true).map_or(Scalar::Unknown, |direction| Scalar::Test {
                    of,
                    place,
                    more,
                    limit,
                    direction,
                })
            }
            _ => Scalar::Unknown,
        }
    }
}

fn known(number: Option<i64>) -> Scalar {
    number.map_or(Scalar::Unknown, Scalar::Known)
}

fn counter(of: u32, place: usize, more: Option<i64>) -> Scalar {
    more.map_or(Scalar::Unknown, |more| Scalar::Counter { of, place, more })
}

/// `LT` of a comparison, in its printed or its generic form.
fn direction<'t>(op: &Operation<'t>) -> &'t [u8] {
    const ALL: [&[u8]; 6] = [b"LT", b"LE", b"GT", b"GE", b"EQ", b"NE"];
    if let Some((name, _)) = op.clauses.iter().find(|(name, _)| ALL.contains(name)) {
        return name;
    }
    // `#stablehlo<comparison_direction LT>`
    let value = op.clause(&["comparison_direction"]).unwrap_or_default();
    let value = value.strip_suffix(b">").unwrap_or(value);
    value.rsplit(|byte| *byte == b' ').next().unwrap_or_default()
}

fn holds(direction: &[u8], a: i64, b: i64) -> bool {
    match direction {
        b"LT" => a < b,
        b"LE" => a <= b,
        b"GT" => a > b,
        b"GE" => a >= b,
        b"EQ" => a == b,
        _ => a != b,
    }
}

/// The direction of a test of a counter; turned where the counter stands on the right.
fn test(direction: &[u8], is_turned: bool) -> Option<Direction> {
    Some(match (direction, is_turned) {
        (b"LT", false) | (b"GT", true) => Direction::Less,
        (b"LE", false) | (b"GE", true) => Direction::LessOrEqual,
        (b"GT", false) | (b"LT", true) => Direction::Greater,
        (b"GE", false) | (b"LE", true) => Direction::GreaterOrEqual,
        (b"NE", _) => Direction::NotEqual,
        _ => return None,
    })
}
