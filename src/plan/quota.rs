//! Places: how many tokens an organization may have, and who may take the last ones.

use jiff::Timestamp;

use super::{Account, List, schedule};

/// How old a list may be before it is asked for again to learn whether a place has become free.
const STALE: std::time::Duration = std::time::Duration::from_secs(300);

/// Whether a token finds a place.
pub enum Place {
    /// It does.
    Free,
    /// It doesn't, by a list that is too old to say so.
    Ask,
    /// It doesn't; look again at this time.
    Full(String, Timestamp),
}

/// New tokens stop at the limit less the reserve; rotations may use the rest.
pub fn place(account: &Account, list: &List, rotation: bool, now: Timestamp) -> Place {
    let most = if rotation { account.limit } else { account.limit.saturating_sub(account.reserved) };
    if list.total < most {
        return Place::Free;
    }
    let again = schedule::plus(list.started, STALE);
    if again <= now {
        return Place::Ask;
    }
    let (total, limit, name) = (list.total, account.limit, &account.name);
    let reserve = if rotation { String::new() } else { format!(" and {} kept for rotations", account.reserved) };
    let message = format!(
        "organization {name} has {total} tokens, with {limit} allowed{reserve}: delete tokens that nobody uses at Docker Hub, \
         or raise tokenLimit if the subscription allows more"
    );
    Place::Full(message, again)
}
