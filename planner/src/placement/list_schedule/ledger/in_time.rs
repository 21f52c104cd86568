//! Closing ledger whose entries were not made in the order of time.

use super::{Ledger, Listed};
use ir::schedule::Action;

impl Ledger<'_> {
    /// The finished schedule, with every order by (start, end, turn of the commit).
    pub(in crate::placement::list_schedule) fn close_in_time(mut self) -> Listed {
        for actions in &mut self.actions {
            actions.sort_by_key(|Action::Op(op)| (self.start[op.index()], self.end[op.index()]));
        }
        for transfers in self.channels.values_mut() {
            transfers.sort_by_key(|transfer| {
                let copies = self.copies[transfer.tensor.index()].iter();
                let copy = copies.copied().find(|copy| copy.device == transfer.to);
                copy.map_or((0, 0), |copy| (copy.start, copy.end))
            });
        }
        self.close()
    }
}
