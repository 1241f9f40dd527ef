//! Opening, migrating, losing and finding the database again.
