//! What the solver is asked while it runs: whether to stop, and which solutions it has met.
//!
//! The safe bindings have no callbacks, so that this module speaks to the C interface itself.
#![allow(unsafe_code, reason = "callbacks exist in the C interface only; each block says why")]

use std::ffi::{c_char, c_int, c_void};
use std::marker::PhantomData;

use highs::Model;
use highs_sys::{
    Highs_setCallback, Highs_startCallback, HighsCallbackDataIn, HighsCallbackDataOut, STATUS_OK,
    kHighsCallbackMipImprovingSolution, kHighsCallbackMipInterrupt, kHighsCallbackMipLogging,
};

/// What a run tells and asks.
pub(crate) trait Listener {
    /// Whether the run shall end; `dual_bound` is the least objective that is still possible.
    fn goes_on(&mut self, dual_bound: f64) -> bool;
    /// A solution better than all before: the value of every column.
    fn improved(&mut self, columns: &[f64]);
}

/// Holds a listener for as long as the solver may call it.
pub(crate) struct Hook<'a, L: Listener> {
    /// Boxed, so that its address stays.
    listener: *mut L,
    borrow: PhantomData<&'a mut L>,
}

impl<'a, L: Listener> Hook<'a, L> {
    /// Makes the model call the listener; `None` if it refuses. Keep the hook until the run is over.
    pub(crate) fn new(model: &mut Model, listener: &'a mut L) -> Option<Self> {
        let listener: *mut L = listener;
        // SAFETY: the pointer is that of a live solver, which `model` owns; the function has the
        // signature that the interface asks for; `listener` is borrowed for the life of the hook.
        let set = unsafe {
            Highs_setCallback(model.as_mut_ptr(), Some(relay::<L>), listener.cast::<c_void>())
        };
        let kinds = [
            kHighsCallbackMipInterrupt,
            kHighsCallbackMipImprovingSolution,
            kHighsCallbackMipLogging,
        ];
        let mut is_set = set == STATUS_OK;
        for kind in kinds {
            // SAFETY: the solver is live, and the kind is one of its own constants.
            is_set &= unsafe { Highs_startCallback(model.as_mut_ptr(), kind) } == STATUS_OK;
        }
        is_set.then_some(Self { listener, borrow: PhantomData })
    }

    /// Ends the borrow after the run.
    pub(crate) fn release(self) {
        let Self { listener, borrow } = self;
        let _: (*mut L, PhantomData<&'a mut L>) = (listener, borrow);
    }
}

/// Called by the solver on the thread that runs it.
unsafe extern "C" fn relay<L: Listener>(
    kind: c_int,
    _message: *const c_char,
    out: *const HighsCallbackDataOut,
    answer: *mut HighsCallbackDataIn,
    listener: *mut c_void,
) {
    if out.is_null() || listener.is_null() {
        return;
    }
    // SAFETY: the listener was set by `Hook::new`, is borrowed until the run is over, and is used
    // by this thread alone; `out` was checked and lives for this call.
    let (listener, out) = unsafe { (&mut *listener.cast::<L>(), &*out) };
    if kind == kHighsCallbackMipImprovingSolution {
        let n_columns = usize::try_from(out.mip_solution_size).unwrap_or(0);
        if !out.mip_solution.is_null() && n_columns > 0 {
            // SAFETY: the solver says that so many values lie there; they live for this call.
            let columns = unsafe { std::slice::from_raw_parts(out.mip_solution, n_columns) };
            listener.improved(columns);
        }
    } else if !listener.goes_on(out.mip_dual_bound) && !answer.is_null() {
        // SAFETY: checked; the solver owns the struct and lends it for this call.
        unsafe { (*answer).user_interrupt = 1 };
    }
}
