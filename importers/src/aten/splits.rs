//! How devices can share a call: which dimensions of its tensors are split together.
//!
//! Operators that this table lacks have no splits: devices do such a call whole.

use ir::op::{Linear, Splits};

use super::call::{Call, Scalar};

/// A dimension of an operand: tensor arguments by their order, then results.
type Place = (usize, usize);

/// Letters of dimensions under construction.
struct Words<'c> {
    call: &'c Call<'c>,
    shapes: Vec<&'c [u64]>,
    words: Vec<Vec<char>>,
    letters: std::iter::Chain<std::ops::RangeInclusive<char>, std::ops::RangeInclusive<char>>,
    linear: Linear,
}

/// `None` where devices cannot share the call.
type Shared = Option<()>;

/// Takes every element by itself, of tensors that broadcast.
const POINTWISE: &str = "add sub rsub subtract mul multiply div divide true_divide floor_divide \
     remainder fmod addcmul addcdiv lerp logaddexp logaddexp2 hypot xlogy ldexp copysign deg2rad \
     rad2deg sinc pow float_power square neg negative abs absolute exp expm1 exp2 log log1p log2 \
     log10 logit sqrt rsqrt reciprocal sin cos tan sinh cosh asinh acosh atanh asin arcsin acos \
     arccos atan arctan atan2 arctan2 erf erfc erfinv digamma lgamma tanh sigmoid special_expit \
     relu relu6 threshold gelu silu mish softplus log_sigmoid softsign leaky_relu elu selu celu \
     hardswish hardsigmoid hardtanh clamp clip clamp_min clamp_max nan_to_num hardshrink softshrink \
     where masked_fill minimum fmin maximum fmax floor ceil round trunc fix frac sign sgn heaviside \
     signbit eq ne lt le gt ge isnan isfinite isinf isposinf isneginf isclose logical_and \
     bitwise_and __and__ __iand__ logical_or bitwise_or __or__ __ior__ logical_not bitwise_not \
     logical_xor bitwise_xor __xor__ to _to_copy _cast_Float _cast_Half convert_element_type \
     contiguous clone lift_copy alias_copy detach_copy alias detach positive lift_fresh \
     lift_fresh_copy lift view_of dropout alpha_dropout native_dropout bernoulli copy complex polar \
     angle real imag _conj resolve_conj resolve_neg";
/// Of them, what partial sums go through.
const UNARY_LINEAR: &str = "neg negative to _to_copy _cast_Float _cast_Half convert_element_type \
     contiguous clone lift_copy alias_copy detach_copy alias detach positive lift_fresh \
     lift_fresh_copy lift view_of real imag";
/// Renames or copies elements in the same order.
const RESHAPES: &str = "view _unsafe_view view_as _reshape_alias unflatten reshape reshape_as \
     flatten ravel squeeze unsqueeze split_dim collapse_view atleast_1d atleast_2d view_copy \
     squeeze_copy unsqueeze_copy";
/// Makes tensors out of nothing: every device its part.
const CREATES: &str = "arange range linspace full zeros ones empty new_full new_zeros new_ones \
     new_empty scalar_tensor rand randn randint normal";
/// The same in the form of a tensor.
const LIKE: &str = "full_like zeros_like ones_like empty_like rand_like randn_like randint_like";
/// Sums over dimensions; means are sums by the definition of [`Splits`].
const SUMS: &str = "sum nansum mean";
/// Other results over dimensions, which take them whole.
const REDUCTIONS: &str = "amax amin max min argmax argmin prod all any var std logsumexp norm \
     linalg_vector_norm var_mean std_mean median count_nonzero";
/// One dimension whole, all others alike.
const ALONG: &str = "softmax _softmax _safe_softmax special_softmax softmin log_softmax \
     _log_softmax special_log_softmax cumsum cumprod cummax cummin logcumsumexp sort argsort topk \
     slice narrow roll flip cat concat concatenate split chunk split_with_sizes tensor_split \
     unsafe_chunk unsafe_split slice_copy narrow_copy";

fn has(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|of| of == name)
}

/// How devices can share a call of an operator of ATen, by its tensor arguments in their order and its results.
pub(super) fn of(name: &str, call: &Call<'_>) -> Splits {
    let name = name.strip_suffix('_').filter(|name| !name.ends_with('_')).unwrap_or(name);
    let shapes = call.tensors.iter().map(|(_, shape)| *shape).chain(call.outputs.iter().copied());
    let Some(shapes) = shapes.collect::<Option<Vec<_>>>() else { return Splits::default() };
    let words = shapes.iter().map(|shape| vec![Splits::WHOLE; shape.len()]).collect();
    let letters = ('a'..='z').chain('A'..='Z');
    let mut words = Words { call, shapes, words, letters, linear: Linear::No };
    match words.shared(name) {
        None => Splits::default(),
        Some(()) => {
            let all = words.words.into_iter().map(|word| word.into_iter().collect());
            Splits { words: all.collect(), linear: words.linear }
        }
    }
}

impl Words<'_> {
    fn shared(&mut self, name: &str) -> Shared {
        match name {
            _ if has(POINTWISE, name) => self.pointwise(name),
            _ if has(RESHAPES, name) => self.reshape(),
            _ if has(CREATES, name) => self.created(),
            _ if has(LIKE, name) => self.broadcast(&[0]),
            _ if has(SUMS, name) => self.reduced(true),
            _ if has(REDUCTIONS, name) => self.reduced(false),
            _ if has(ALONG, name) => self.along(name),
            "transpose" | "t" | "numpy_T" | "mT" | "permute" | "swapaxes" | "swapdims"
            | "transpose_copy" | "t_copy" | "permute_copy" => self.transposed(name),
            "expand" | "expand_as" | "broadcast_to" | "broadcast_tensors" | "expand_copy"
            | "repeat" | "tile" => {
                self.linear = Linear::InEach(1);
                self.broadcast(&[0])
            }
            "select" | "unbind" | "select_copy" => self.without_one(),
            "stack" => self.stacked(),
            "repeat_interleave" => self.repeated(),
            "outer" | "ger" => self.outer(),
            "constant_pad_nd" | "pad" => self.padded(),
            "tril" | "triu" => self.last_whole(2),
            "one_hot" => self.leading(&[0, 1], self.shapes.first()?.len()),
            "linear" => self.linear(),
            "mm" | "matmul" | "bmm" | "mv" | "dot" => self.matmul([0, 1], None),
            "addmm" | "addmv" | "baddbmm" => self.matmul([1, 2], Some(0)),
            "einsum" => self.einsum(),
            "conv1d" | "conv2d" | "conv3d" | "convolution" | "_convolution" => self.convolution(),
            "scaled_dot_product_attention" => self.attention(),
            "embedding" => self.embedding(),
            "index_select" => self.index_select(),
            "gather" => self.gather(),
            "layer_norm" | "native_layer_norm" | "rms_norm" | "_fused_rms_norm" => {
                let n = self.ints("normalized_shape")?.len();
                self.last_whole(n)
            }
            "group_norm" | "native_group_norm" | "instance_norm" => self.by_sample(),
            "cross_entropy_loss" | "nll_loss" | "nll_loss_nd" | "nll_loss_forward" => {
                self.class_loss()
            }
            "mse_loss"
            | "l1_loss"
            | "smooth_l1_loss"
            | "huber_loss"
            | "binary_cross_entropy_with_logits" => self.element_loss(),
            _ => self.pooled(name),
        }
    }

    fn n_inputs(&self) -> usize {
        self.call.tensors.len()
    }

    fn outputs(&self) -> std::ops::Range<usize> {
        self.n_inputs()..self.shapes.len()
    }

    /// The number of a tensor argument.
    fn at(&self, names: &[&str]) -> Option<usize> {
        self.call.tensors.iter().position(|(name, _)| names.contains(name))
    }

    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        match self.call.scalar(name)? {
            Scalar::Int(number) => Some(vec![*number]),
            Scalar::Ints(numbers) => Some(numbers.clone()),
            Scalar::Bools(_) | Scalar::Text(_) => None,
        }
    }

    /// A stated dimension of a rank, counted from the end where it is negative.
    fn dim(&self, name: &str, usual: i64, rank: usize) -> Option<usize> {
        let stated = self.call.int(name).unwrap_or(usual);
        let dim = if stated < 0 { stated.checked_add(rank as i64)? } else { stated };
        usize::try_from(dim).ok().filter(|dim| *dim < rank)
    }

    fn size(&self, (operand, dim): Place) -> u64 {
        self.shapes[operand].get(dim).copied().unwrap_or(1)
    }

    /// Gives dimensions a letter, but those of one element, which broadcast.
    fn tie(&mut self, places: &[Place]) {
        let long: Vec<Place> = places.iter().copied().filter(|of| self.size(*of) > 1).collect();
        if long.is_empty() || long.iter().any(|(at, dim)| *dim >= self.shapes[*at].len()) {
            return;
        }
        let Some(letter) = self.letters.next() else { return };
        for (operand, dim) in long {
            self.words[operand][dim] = letter;
        }
    }

    /// Ties dimensions counted from the last one of the results with those of operands that broadcast to them.
    fn broadcast(&mut self, operands: &[usize]) -> Shared {
        let first = self.outputs().next()?;
        let rank = self.shapes[first].len();
        let outputs: Vec<usize> =
            self.outputs().filter(|of| self.shapes[*of] == self.shapes[first]).collect();
        for dim in 0..rank {
            let size = self.size((first, dim));
            let mut places: Vec<Place> = outputs.iter().map(|of| (*of, dim)).collect();
            for operand in operands {
                let Some(own) = (dim + self.shapes[*operand].len()).checked_sub(rank) else {
                    continue;
                };
                match self.size((*operand, own)) {
                    1 => {}
                    of if of == size => places.push((*operand, own)),
                    // A repeated dimension.
                    _ => places.clear(),
                }
            }
            self.tie(&places);
        }
        Some(())
    }

    fn pointwise(&mut self, name: &str) -> Shared {
        let n = self.n_inputs();
        let out = self.shapes[self.outputs().next()?];
        let is_broadcast = |shape: &&[u64]| {
            let skip = out.len().checked_sub(shape.len());
            let mut pairs = shape.iter().zip(out.iter().skip(skip.unwrap_or(0)));
            skip.is_some() && pairs.all(|(of, out)| *of == 1 || of == out)
        };
        if !self.shapes[..n].iter().all(is_broadcast) {
            return None;
        }
        self.linear = match (name, n) {
            ("add" | "sub" | "rsub" | "subtract", 2) => Linear::InAll,
            ("mul" | "multiply", _) => Linear::InEach(2),
            ("div" | "divide" | "true_divide", _) => Linear::InEach(1),
            _ if has(UNARY_LINEAR, name) => Linear::InEach(1),
            _ => Linear::No,
        };
        self.broadcast(&(0..n).collect::<Vec<_>>())
    }

    /// Groups of dimensions of as many elements: of each the outermost ones are split together.
    fn reshape(&mut self) -> Shared {
        self.linear = Linear::InEach(1);
        let (a, b) = (0, self.outputs().next()?);
        let (from, to) = (*self.shapes.first()?, self.shapes[b]);
        if from.contains(&0) || to.contains(&0) {
            return None;
        }
        let long = |shape: &[u64]| -> Vec<(usize, u64)> {
            shape.iter().copied().enumerate().filter(|(_, size)| *size > 1).collect()
        };
        let (from, to) = (long(from), long(to));
        let (mut i, mut j) = (0, 0);
        while let (Some((first, mut x)), Some((other, mut y))) =
            (from.get(i).copied(), to.get(j).copied())
        {
            (i, j) = (i + 1, j + 1);
            while x != y {
                let (list, at, product) =
                    if x < y { (&from, &mut i, &mut x) } else { (&to, &mut j, &mut y) };
                *product = product.checked_mul(list.get(*at)?.1)?;
                *at += 1;
            }
            self.tie(&[(a, first), (b, other)]);
        }
        Some(())
    }

    fn created(&mut self) -> Shared {
        let out = self.outputs().next()?;
        (0..self.shapes[out].len()).for_each(|dim| self.tie(&[(out, dim)]));
        Some(())
    }

    /// Results over some dimensions or, where none is stated, over all.
    fn reduced(&mut self, is_sum: bool) -> Shared {
        let rank = self.shapes.first()?.len();
        let stated = self.ints("dim").filter(|dims| !dims.is_empty());
        let all = || (0..rank as i64).collect();
        let mut is_reduced = vec![false; rank];
        for dim in stated.unwrap_or_else(all) {
            let dim = if dim < 0 { dim.checked_add(rank as i64)? } else { dim };
            *is_reduced.get_mut(usize::try_from(dim).ok()?)? = true;
        }
        if is_sum {
            self.linear = Linear::InEach(1);
        }
        let outputs: Vec<usize> = self.outputs().collect();
        let n_left = is_reduced.iter().filter(|is_reduced| !**is_reduced).count();
        let mut left = 0;
        for (dim, is_reduced) in is_reduced.into_iter().enumerate() {
            if is_reduced {
                if is_sum {
                    self.tie(&[(0, dim)]);
                }
                continue;
            }
            let of =
                |out: &usize| (*out, if self.shapes[*out].len() == n_left { left } else { dim });
            let places: Vec<Place> = [(0, dim)].into_iter().chain(outputs.iter().map(of)).collect();
            self.tie(&places);
            left += 1;
        }
        Some(())
    }

    /// All dimensions alike but a stated one.
    fn along(&mut self, name: &str) -> Shared {
        let rank = self.shapes.first()?.len();
        if matches!(
            name,
            "slice" | "narrow" | "roll" | "flip" | "split" | "cat" | "concat" | "concatenate"
        ) || name.contains("split")
            || name.contains("chunk")
        {
            self.linear = match name {
                "cat" | "concat" | "concatenate" => Linear::InAll,
                _ => Linear::InEach(1),
            };
        }
        let whole: Vec<usize> = match name {
            "roll" | "flip" => {
                let dims = self.ints("dims").filter(|dims| !dims.is_empty())?;
                let rank = rank as i64;
                let dim = |of: i64| usize::try_from(if of < 0 { of + rank } else { of }).ok();
                dims.into_iter().map(dim).collect::<Option<_>>()?
            }
            "sort" | "argsort" | "topk" => vec![self.dim("dim", -1, rank)?],
            _ => vec![self.dim("dim", 0, rank)?],
        };
        let mut all = 0..self.shapes.len();
        if !all.all(|at| self.shapes[at].len() == rank) {
            return None;
        }
        for dim in (0..rank).filter(|dim| !whole.contains(dim)) {
            let places: Vec<Place> = (0..self.shapes.len()).map(|at| (at, dim)).collect();
            let size = self.size((0, dim));
            if places.iter().all(|place| self.size(*place) == size) {
                self.tie(&places);
            }
        }
        Some(())
    }

    fn transposed(&mut self, name: &str) -> Shared {
        let rank = self.shapes.first()?.len();
        let mut order: Vec<usize> = (0..rank).collect();
        match name {
            "permute" | "permute_copy" => {
                let dims = self.ints("dims").filter(|dims| dims.len() == rank)?;
                let dim =
                    |of: i64| usize::try_from(if of < 0 { of + rank as i64 } else { of }).ok();
                order = dims.into_iter().map(dim).collect::<Option<_>>()?;
            }
            "t" | "numpy_T" | "t_copy" => order.reverse(),
            "mT" => order.swap(rank.checked_sub(2)?, rank - 1),
            "swapaxes" => order.swap(self.stated("axis0", rank)?, self.stated("axis1", rank)?),
            _ => order.swap(self.stated("dim0", rank)?, self.stated("dim1", rank)?),
        }
        let out = self.outputs().next()?;
        self.linear = Linear::InEach(1);
        for (to, from) in order.into_iter().enumerate() {
            self.tie(&[(0, from), (out, to)]);
        }
        Some(())
    }

    fn stated(&self, name: &str, rank: usize) -> Option<usize> {
        self.call.int(name)?;
        self.dim(name, 0, rank)
    }

    /// Results without one dimension.
    fn without_one(&mut self) -> Shared {
        let rank = self.shapes.first()?.len();
        let gone = self.dim("dim", 0, rank)?;
        self.linear = Linear::InEach(1);
        for dim in (0..rank).filter(|dim| *dim != gone) {
            let of = |out| (out, dim - usize::from(dim > gone));
            let places: Vec<Place> = [(0, dim)].into_iter().chain(self.outputs().map(of)).collect();
            self.tie(&places);
        }
        Some(())
    }

    /// A number of copies of each element along a dimension.
    fn repeated(&mut self) -> Shared {
        self.call.int("repeats")?;
        let (rank, out) = (self.shapes.first()?.len(), self.outputs().next()?);
        self.stated("dim", rank)?;
        self.linear = Linear::InEach(1);
        (0..rank).for_each(|dim| self.tie(&[(0, dim), (out, dim)]));
        Some(())
    }

    fn outer(&mut self) -> Shared {
        let out = self.outputs().next().filter(|_| self.n_inputs() == 2)?;
        self.linear = Linear::InEach(2);
        (0..2).for_each(|at| self.tie(&[(at, 0), (out, at)]));
        Some(())
    }

    fn stacked(&mut self) -> Shared {
        let out = self.outputs().next()?;
        let added = self.dim("dim", 0, self.shapes[out].len())?;
        self.linear = Linear::InAll;
        for dim in (0..self.shapes[out].len()).filter(|dim| *dim != added) {
            let of = |input| (input, dim - usize::from(dim > added));
            let places: Vec<Place> = (0..self.n_inputs()).map(of).chain([(out, dim)]).collect();
            self.tie(&places);
        }
        Some(())
    }

    /// Dimensions in front of those that are padded.
    fn padded(&mut self) -> Shared {
        let n = self.ints("pad")?.len().div_ceil(2);
        self.last_whole(n)
    }

    /// All dimensions of the first tensor but its last ones, and those of the results that they lead.
    fn last_whole(&mut self, n: usize) -> Shared {
        let rank = self.shapes.first()?.len().checked_sub(n)?;
        let operands: Vec<usize> = [0].into_iter().chain(self.outputs()).collect();
        self.leading(&operands, rank)
    }

    /// The first `n` dimensions of operands.
    fn leading(&mut self, operands: &[usize], n: usize) -> Shared {
        for dim in 0..n {
            let places: Vec<Place> = operands.iter().map(|at| (*at, dim)).collect();
            let size = self.size(places[0]);
            if places.iter().all(|place| self.size(*place) == size) {
                self.tie(&places);
            }
        }
        Some(())
    }

    /// Norms over channels: samples alone.
    fn by_sample(&mut self) -> Shared {
        let operands: Vec<usize> = [0].into_iter().chain(self.outputs()).collect();
        self.leading(&operands, 1)
    }

    /// Losses of classes in the second dimension.
    fn class_loss(&mut self) -> Shared {
        let (scores, target) = (self.at(&["self", "input"])?, self.at(&["target"])?);
        let (out, rank) = (self.outputs().next()?, self.shapes[scores].len());
        if rank < 2 || self.shapes[target].len() + 1 != rank {
            return None;
        }
        let is_each = !self.shapes[out].is_empty();
        for dim in (0..rank).filter(|dim| *dim != 1) {
            let own = dim - usize::from(dim > 1);
            let each = is_each.then_some((out, own));
            let places = [(scores, dim), (target, own)].into_iter().chain(each);
            self.tie(&places.collect::<Vec<_>>());
        }
        Some(())
    }

    /// Losses of elements, and their sum or mean.
    fn element_loss(&mut self) -> Shared {
        let (of, target) = (self.at(&["self"])?, self.at(&["target"])?);
        let (out, rank) = (self.outputs().next()?, self.shapes[of].len());
        if self.shapes[of] != self.shapes[target] || self.n_inputs() != 2 {
            return None;
        }
        let is_each = !self.shapes[out].is_empty();
        for dim in 0..rank {
            let each = is_each.then_some((out, dim));
            let places = [(of, dim), (target, dim)].into_iter().chain(each);
            self.tie(&places.collect::<Vec<_>>());
        }
        Some(())
    }

    /// Windows over the last dimensions: samples and channels.
    fn pooled(&mut self, name: &str) -> Shared {
        let is_window = ["pool", "upsample"].iter().any(|word| name.contains(word));
        let n = ["1d", "2d", "3d"].iter().position(|end| name.contains(end))? + 1;
        let rank = self.shapes.first()?.len();
        if !is_window || self.n_inputs() != 1 || rank != n + 2 {
            return None;
        }
        self.last_whole(n)
    }
}

mod products;
#[cfg(test)]
mod tests;
