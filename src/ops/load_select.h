// Which entries of tables of contents a load takes: pure, over what pg_dump wrote down. pg_restore's own choice leaves
// out what a schema or table cannot live without (the schema itself, indexes, sequences), so the choice is made here
// and given to it as a list.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pg/dump_toc.h"

namespace pgark {

struct LoadChoice {
  std::vector<std::string> schemas;  // Patterns; empty: all.
  std::vector<std::string> exclude_schemas;
  std::vector<std::string> tables;
  std::vector<std::string> exclude_tables;
  bool data_only = false;
  bool schema_only = false;
  bool acl = true;
  bool comments = true;

  /// Whether everything is taken, but for data or definitions.
  bool whole() const { return schemas.empty() && tables.empty() && exclude_schemas.empty() && exclude_tables.empty(); }
};

/// Schema and name of a relation.
using RelationKey = std::pair<std::string, std::string>;
using RelationKeys = std::set<RelationKey>;

/// Entries of one table of contents, as indices into it, in the order in which they are to be restored.
struct ChosenEntries {
  std::vector<size_t> pre;   // Definitions that data need.
  std::vector<size_t> data;  // Rows and large objects: what has data in the archive.
  std::vector<size_t> post;  // Values of sequences, indexes, constraints, triggers, privileges, ...

  bool empty() const { return pre.empty() && data.empty() && post.empty(); }
  size_t count() const { return pre.size() + data.size() + post.size(); }
  std::vector<size_t> all() const;
};

/// Tables, views, materialized views, foreign tables, sequences.
bool is_relation(const pg::DumpTocEntry& entry);
/// Of the database itself: CREATE DATABASE, its settings, privileges, comment. Never chosen by choose_entries().
bool is_of_database(const pg::DumpTocEntry& entry);

/// Relations that the patterns of `choice` name in any of the units of a database, partitions of chosen tables
/// included. `whole()` without table patterns needs none of them.
struct ChosenRelations {
  RelationKeys chosen;                 // Of `tables`.
  RelationKeys excluded;               // Of `exclude_tables`.
  std::vector<std::string> unmatched;  // Patterns that name nothing.
};
ChosenRelations choose_relations(const std::vector<const pg::DumpToc*>& tocs, const LoadChoice& choice);

/// Shape:  a partition whose parent is not chosen is attached after its indexes were made, so that they become those of
///         the parent's. With `data_only` rows of referenced tables come before those that refer to them.
ChosenEntries choose_entries(const pg::DumpToc& toc, const LoadChoice& choice, const ChosenRelations& relations);

/// What chosen entries depend on and is not chosen itself, in the order of the table of contents.
struct NeededEntry {
  size_t entry = 0;
  size_t of = 0;  // The entry that needs it.
};
/// Shape:  without what a partition has from its parent: it can be made as a table of its own.
std::vector<NeededEntry> needed_entries(const pg::DumpToc& toc, const ChosenEntries& chosen);
/// Take further entries, with their comments and privileges: each goes where it belongs.
void add_entries(const pg::DumpToc& toc, const LoadChoice& choice, const std::vector<size_t>& entries,
                 ChosenEntries& chosen);
/// The table that a foreign key refers to, as its definition says: it may be in another unit of the dump, or in none.
std::optional<RelationKey> referenced_table(const pg::DumpTocEntry& foreign_key);
/// Leave out entries with their comments and privileges.
void remove_entries(const pg::DumpToc& toc, std::set<size_t> entries, ChosenEntries& chosen);

/// "TABLE public.orders", for people.
std::string entry_label(const pg::DumpTocEntry& entry);

}  // namespace pgark
