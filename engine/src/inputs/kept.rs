//! What a process keeps between the questions that it answers: files that were read, problems that
//! were built, plans that were put on them.
//!
//! Nothing is kept unless the process says so, which one may whose files never change: a helper of
//! the planning service in a folder of its own. What is kept stands for its name alone, so a name
//! holds all that its making depends on.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many of a type are kept: a plan that is compared with another, or two sizes of one.
const MOST: usize = 2;

/// Type, name and what was made, the last asked for first.
type Kept = VecDeque<(TypeId, String, Arc<dyn Any + Send + Sync>)>;

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// From now on this thread keeps what it makes.
pub fn keep() {
    KEPT.with_borrow_mut(|store| *store = Some(store.take().unwrap_or_default()));
}

/// What was made under a name, or is made now.
///
/// # Errors
/// Those of making, which are not kept.
pub fn made<T: Send + Sync + 'static, E>(
    name: &str,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<Arc<T>, E> {
    if let Some(found) = found::<T>(name) {
        return Ok(found);
    }
    let made = Arc::new(make()?);
    KEPT.with_borrow_mut(|store| {
        let Some(store) = store else { return };
        let of = TypeId::of::<T>();
        let same = store.iter().enumerate().filter(|(_, entry)| entry.0 == of).map(|(at, _)| at);
        if let Some(oldest) = same.skip(MOST - 1).last() {
            store.remove(oldest);
        }
        store.push_front((of, name.to_owned(), Arc::<T>::clone(&made)));
    });
    Ok(made)
}

fn found<T: Send + Sync + 'static>(name: &str) -> Option<Arc<T>> {
    KEPT.with_borrow_mut(|store| {
        let store = store.as_mut()?;
        let at = store.iter().position(|entry| entry.0 == TypeId::of::<T>() && entry.1 == name)?;
        let entry = store.remove(at)?;
        let found = Arc::clone(&entry.2);
        store.push_front(entry);
        found.downcast().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, value: u32) -> u32 {
        *made::<_, ()>(name, || Ok(value)).unwrap()
    }

    #[test]
    fn nothing_is_kept_unless_asked_and_then_the_last_of_each_type() {
        assert_eq!((asked("a", 1), asked("a", 2)), (1, 2));
        keep();
        assert_eq!((asked("a", 3), asked("a", 4)), (3, 3));
        assert_eq!(*made::<_, ()>("a", || Ok("of another type")).unwrap(), "of another type");
        assert_eq!((asked("b", 5), asked("a", 6), asked("c", 7)), (5, 3, 7));
        assert_eq!((asked("b", 8), asked("c", 9)), (8, 7), "`b` was asked for longest ago");
        assert_eq!(made::<u32, _>("d", || Err("no")), Err("no"));
        assert_eq!(asked("d", 10), 10);
    }
}
