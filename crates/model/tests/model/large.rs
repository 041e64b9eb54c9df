//! What the large run has besides: kinds of trouble that the usual ones have only one by one.

/// A name, and what happens in it, in the words of `OAT_MODEL`.
pub const LARGE: &[(&str, &str)] = &[
    // Two leaders, and one more thing that neither does.
    ("leaders over time", "Settled crash=2 late=2 lost=1 rotate=1 tick=1"),
    ("leaders whose terms settle", "Settled crash=2 late=2 lost=1 rotate=1 settle=1"),
    ("leaders and a new name, over time", "Settled crash=2 late=2 rotate=1 rename=1 tick=1"),
    ("leaders and the end", "Settled crash=2 late=2 lost=1 rotate=1 delete=1"),
    ("leaders and hands at Docker Hub", "Settled crash=2 late=2 hub=1 rotate=1"),
    ("leaders that refuse a first token", "New crash=2 late=2 lost=1 refuse=1"),
    ("lost answers for the first, over time", "New crash=2 lost=2 late=1 tick=1"),
    ("leaders without a status", "Restored crash=2 late=2 lost=1 rotate=1"),
    ("leaders, a Secret without a status, hands", "Kept crash=2 late=1 lost=1 hub=1"),
    // Leaders that see the past.
    ("behind, and a lost answer", "Settled crash=2 late=1 lag=2 rotate=1 rename=1 lost=1"),
    ("behind, and a Secret by hand", "Settled crash=2 late=1 lag=2 rotate=1 secret=1"),
    ("behind, in an emergency", "Settled crash=1 late=1 lost=1 rotate=1 revoke=1 lag=1"),
    // Secrets by hand.
    ("Secrets by hand, over time", "Settled crash=1 late=1 lost=1 rotate=1 secret=1 tick=1"),
    ("both sides by hand, late", "Settled crash=1 late=1 lost=1 hub=1 secret=1 rotate=1"),
    ("both sides by hand, and the end", "Settled crash=1 late=1 delete=1 rotate=1 secret=1 hub=1"),
    ("two Secrets by hand, over time", "Two crash=1 late=1 refuse=1 rotate=1 secret=1 tick=1"),
    ("two Secrets, lost answers", "Two refuse=1 lost=1 secret=1 rotate=1 tick=2"),
    ("a token that stays, late", "Retained delete=1 crash=1 late=1 lost=1 rotate=1 secret=1"),
    ("the end of what is kept, by hand", "Deactivating delete=1 crash=1 late=1 lost=1 refuse=1 hub=1 secret=1"),
    // Edits.
    ("edits, leaders and hands", "Settled toggle=2 rename=1 edit=1 rotate=1 crash=1 late=1 hub=1"),
    ("edits and crashes, over time", "Settled toggle=2 edit=1 rename=1 rotate=1 crash=1 tick=1"),
    ("hands, wishes and leaders", "Settled hub=1 reshape=1 toggle=2 rotate=1 lost=1 crash=1 late=1"),
    ("names that are taken, and crashes", "Settled squat=1 rename=2 revoke=1 edit=1 delete=1 hub=1 crash=1"),
    ("no proofs, over time", "Trusting rotate=1 revoke=1 crash=1 lost=1 late=1 tick=1"),
    ("emergency, over time", "Settled crash=1 lost=1 rotate=1 revoke=1 tick=1"),
    ("hands at Docker Hub, crashes", "Settled hub=2 rotate=1 crash=1 tick=1"),
    // Adoption.
    ("adoption, leaders and hands", "Adopting crash=2 lost=1 late=1 hub=1 rotate=1"),
    ("adoption and its end, late", "Adopting crash=1 late=1 lost=1 refuse=1 delete=1 hub=1"),
    ("adoption by id, leaders and hands", "AdoptingById crash=2 late=2 lost=1 hub=1"),
    // Places.
    ("places, late and over time", "Settled limit=3 places=2 rotate=1 crash=1 late=1 lost=1 tick=1"),
    ("places and a Secret by hand", "Settled limit=3 places=1 secret=1 rotate=1 crash=1 late=1 lost=1"),
    ("an emergency with leftovers, late", "Settled limit=5 revoke=1 lost=2 late=1 crash=1 rotate=1"),
    ("fewer places, and a crash", "Settled limit=3 exaggerated=1 places=2 secret=1 rotate=1 tick=2 crash=1"),
    // Expiry, with all else that may happen to an object.
    ("the end of what is kept, expired", "Deactivating toggle=1 delete=1 hub=1 revoke=1 rotate=1 tick=3"),
    ("a token that stays, expired", "Retained toggle=1 delete=1 hub=1 refuse=1 rotate=1 tick=3"),
    ("hands and new names, expired", "Settled hub=1 rename=1 toggle=1 rotate=1 tick=3 secret=1"),
    ("places and an emergency, expired", "Settled limit=3 revoke=1 secret=1 rotate=1 crash=1 lost=1 tick=3"),
    ("hands, an emergency and wishes", "Settled hub=1 toggle=2 revoke=1 edit=1 rename=1 rotate=1 delete=1"),
    // The largest: a lost answer, a Secret by hand, and three that lead one after the other.
    ("three leaders, all that is usual", "Settled crash=2 late=2 lost=1 secret=1 rotate=1"),
];
