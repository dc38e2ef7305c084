// What belongs to a schema, a table, a partition, told by dependencies and names of a table of contents.
#include "ops/load_select.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <string_view>

#include "ops/dump_selection.h"
#include "pg/sql_text.h"

namespace pgark {
namespace {

using pg::DumpSection;
using pg::DumpToc;
using pg::DumpTocEntry;

template <size_t N>
bool one_of(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

RelationKey key_of(const DumpTocEntry& entry) { return {entry.schema.value_or(""), entry.tag}; }

/// Comments, privileges and labels: they come with what they are of.
bool is_attribute(const DumpTocEntry& entry) {
  static constexpr std::array<std::string_view, 3> kWords = {"COMMENT", "ACL", "SECURITY LABEL"};
  return one_of(entry.desc, kWords);
}

bool is_publication_part(const DumpTocEntry& entry) {
  static constexpr std::array<std::string_view, 2> kWords = {"PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA"};
  return one_of(entry.desc, kWords);
}

/// Dump ids of a table of contents to places in it.
class Ids {
 public:
  explicit Ids(const DumpToc& toc) : toc_(toc) {
    for (size_t at = 0; at < toc.entries.size(); ++at) places_.emplace(toc.entries[at].dump_id, at);
  }
  /// Entries that one depends on; ids that are not in the table of contents are left out.
  std::vector<size_t> dependencies(const DumpTocEntry& entry) const {
    std::vector<size_t> found;
    for (const std::string& text : entry.dependencies) {
      int32_t id = 0;
      if (std::from_chars(text.data(), text.data() + text.size(), id).ec != std::errc{}) continue;
      if (const auto at = places_.find(id); at != places_.end()) found.push_back(at->second);
    }
    return found;
  }
  const DumpTocEntry& entry(size_t at) const { return toc_.entries[at]; }

 private:
  const DumpToc& toc_;
  std::map<int32_t, size_t> places_;
};

/// Marks what belongs to relations.
class RelationMarker {
 public:
  RelationMarker(const DumpToc& toc, const Ids& ids, const RelationKeys& keys)
      : toc_(toc), ids_(ids), keys_(keys), marks_(toc.entries.size(), false) {}

  std::vector<bool> mark() {
    if (keys_.empty()) return marks_;
    // What belongs to what belongs to a table (the comment of its index) follows it in the order of the archive, but
    // an owned sequence may stand before its table.
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t at = 0; at < toc_.entries.size(); ++at) {
        if (marks_[at] || !belongs(toc_.entries[at])) continue;
        marks_[at] = changed = true;
      }
    }
    return marks_;
  }

 private:
  bool belongs(const DumpTocEntry& entry) const {
    static constexpr std::array<std::string_view, 4> kNamedAsRelation = {"TABLE DATA", "MATERIALIZED VIEW DATA",
                                                                         "ROW SECURITY", "TABLE ATTACH"};
    static constexpr std::array<std::string_view, 7> kOfTable = {
        "DEFAULT", "CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT", "TRIGGER", "RULE", "POLICY"};
    if (is_publication_part(entry) || is_of_database(entry)) return false;
    if (is_relation(entry)) return keys_.contains(key_of(entry)) || is_owned_sequence(entry);
    if (one_of(entry.desc, kNamedAsRelation)) return keys_.contains(key_of(entry));
    if (one_of(entry.desc, kOfTable)) return is_part_of_table(entry);
    if (is_attribute(entry)) return depends_on(entry, [this](size_t at) { return bool(marks_[at]); });
    if (entry.desc == "INDEX" || entry.desc == "STATISTICS")
      return depends_on(entry, [this](size_t at) { return marks_[at] && is_relation(ids_.entry(at)); });
    if (entry.desc == "STATISTICS DATA")
      return keys_.contains(key_of(entry)) || depends_on(entry, [this](size_t at) { return bool(marks_[at]); });
    if (entry.desc == "SEQUENCE SET" || entry.desc == "SEQUENCE OWNED BY")
      return keys_.contains(key_of(entry)) || depends_on(entry, [this](size_t at) { return bool(marks_[at]); });
    if (entry.desc == "INDEX ATTACH") return is_attach_of_marked_index(entry);
    return false;
  }

  template <typename Predicate>
  bool depends_on(const DumpTocEntry& entry, Predicate predicate) const {
    const auto found = ids_.dependencies(entry);
    return std::any_of(found.begin(), found.end(), predicate);
  }

  /// A sequence depends on a table only if a column of that owns it.
  bool is_owned_sequence(const DumpTocEntry& entry) const {
    return entry.desc == "SEQUENCE" &&
           depends_on(entry, [this](size_t at) { return marks_[at] && ids_.entry(at).desc.ends_with("TABLE"); });
  }

  /// Their tags are the table's name, a space, and their own name; a foreign key depends on both tables.
  bool is_part_of_table(const DumpTocEntry& entry) const {
    return depends_on(entry, [&](size_t at) {
      const DumpTocEntry& table = ids_.entry(at);
      return marks_[at] && is_relation(table) && table.schema == entry.schema && entry.tag.starts_with(table.tag + " ");
    });
  }

  bool is_attach_of_marked_index(const DumpTocEntry& entry) const {
    return depends_on(entry, [&](size_t at) {
      const DumpTocEntry& index = ids_.entry(at);
      if (!marks_[at] || index.schema != entry.schema) return false;
      return (index.desc == "INDEX" && index.tag == entry.tag) ||
             (index.desc == "CONSTRAINT" && index.tag.ends_with(" " + entry.tag));
    });
  }

  const DumpToc& toc_;
  const Ids& ids_;
  const RelationKeys& keys_;
  std::vector<bool> marks_;
};

bool matches_any(const std::vector<DumpPattern>& patterns, const std::string& name) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const DumpPattern& one) { return one.matches_name(name); });
}

std::vector<DumpPattern> patterns_of(const std::vector<std::string>& texts) { return {texts.begin(), texts.end()}; }

/// Marks what lives in schemas, with the schemas themselves.
std::vector<bool> mark_schemas(const DumpToc& toc, const Ids& ids, const std::vector<std::string>& texts) {
  std::vector<bool> marks(toc.entries.size(), false);
  const std::vector<DumpPattern> patterns = patterns_of(texts);
  for (size_t at = 0; at < toc.entries.size(); ++at) {
    const DumpTocEntry& entry = toc.entries[at];
    // A publication is none of the schema's: what is loaded beside it or elsewhere must not join it.
    if (is_publication_part(entry) || is_of_database(entry)) continue;
    if (entry.desc == "SCHEMA") marks[at] = matches_any(patterns, entry.tag);
    if (entry.schema && !entry.schema->empty()) marks[at] = matches_any(patterns, *entry.schema);
    if (!marks[at] && is_attribute(entry)) {
      const auto found = ids.dependencies(entry);
      marks[at] = std::any_of(found.begin(), found.end(), [&](size_t of) { return bool(marks[of]); });
    }
  }
  return marks;
}

/// Partitions of tables in `keys`, down to the leaves.
void add_partitions(const std::vector<const DumpToc*>& tocs, RelationKeys& keys) {
  std::multimap<RelationKey, RelationKey> children;
  for (const DumpToc* toc : tocs) {
    const Ids ids(*toc);
    for (const DumpTocEntry& entry : toc->entries) {
      if (entry.desc != "TABLE ATTACH") continue;
      for (const size_t at : ids.dependencies(entry))
        if (is_relation(ids.entry(at)) && key_of(ids.entry(at)) != key_of(entry))
          children.emplace(key_of(ids.entry(at)), key_of(entry));
    }
  }
  std::vector<RelationKey> open(keys.begin(), keys.end());
  while (!open.empty()) {
    const RelationKey parent = open.back();
    open.pop_back();
    const auto [first, last] = children.equal_range(parent);
    for (auto at = first; at != last; ++at)
      if (keys.insert(at->second).second) open.push_back(at->second);
  }
}

RelationKeys match_relations(const std::vector<const DumpToc*>& tocs, const std::vector<std::string>& texts,
                             std::vector<std::string>& unmatched) {
  RelationKeys keys;
  for (const std::string& text : texts) {
    const DumpPattern pattern(text);
    bool found = false;
    for (const DumpToc* toc : tocs)
      for (const DumpTocEntry& entry : toc->entries) {
        // The data of a partition may be apart from its definition.
        if (!is_relation(entry) && entry.desc != "TABLE DATA") continue;
        const std::string schema = entry.schema.value_or("");
        if (!pattern.matches(schema, entry.tag, {schema})) continue;
        keys.insert(key_of(entry));
        found = true;
      }
    if (!found) unmatched.push_back(text);
  }
  add_partitions(tocs, keys);
  return keys;
}

/// Large objects: pg_restore counts making them among the data, and so do their privileges and comments.
bool makes_large_objects(const DumpTocEntry& entry) { return entry.desc == "BLOB" || entry.desc == "BLOB METADATA"; }
bool is_of_large_object(const DumpTocEntry& entry) {
  return makes_large_objects(entry) || (is_attribute(entry) && entry.tag.starts_with("LARGE OBJECT"));
}

/// Where an entry goes.
enum class Part : uint8_t { kPre, kData, kPost };
Part part_of(const DumpTocEntry& entry, DumpSection section) {
  if (entry.has_data) return Part::kData;
  // Privileges last: one taken away from the owner would stand in the way of the data.
  if (entry.desc == "ACL" || entry.desc == "DEFAULT ACL") return Part::kPost;
  if (makes_large_objects(entry)) return Part::kPre;
  return section == DumpSection::kPreData ? Part::kPre : Part::kPost;
}

/// The section of each entry; those that have none belong to that of the one before, as pg_restore has it.
std::vector<DumpSection> sections_of(const DumpToc& toc) {
  std::vector<DumpSection> sections;
  DumpSection current = DumpSection::kPreData;
  for (const DumpTocEntry& entry : toc.entries) {
    if (entry.section != DumpSection::kNone) current = entry.section;
    sections.push_back(current);
  }
  return sections;
}

bool is_wanted(const DumpTocEntry& entry, DumpSection section, const LoadChoice& choice) {
  if (is_of_database(entry)) return false;
  if (!choice.acl && (entry.desc == "ACL" || entry.desc == "DEFAULT ACL")) return false;
  if (!choice.comments && entry.desc == "COMMENT") return false;
  const bool is_data =
      entry.has_data || is_of_large_object(entry) || (section == DumpSection::kData && !is_attribute(entry));
  if (choice.data_only) return is_data;
  return !choice.schema_only || (!is_data && entry.desc != "MATERIALIZED VIEW DATA");
}

/// The archive's own names for encoding and the like, which pg_restore reads whether they are chosen or not.
bool is_archive_setting(const DumpTocEntry& entry) {
  static constexpr std::array<std::string_view, 3> kWords = {"ENCODING", "STDSTRINGS", "SEARCHPATH"};
  return one_of(entry.desc, kWords);
}

/// Attach partitions behind their indexes where the parent is there already: the server then takes those for the
/// partition's share of the parent's, and does not make them twice.
void attach_late(const DumpToc& toc, const Ids& ids, ChosenEntries& chosen) {
  const std::set<size_t> all(chosen.pre.begin(), chosen.pre.end());
  std::vector<size_t> late;
  std::erase_if(chosen.pre, [&](size_t at) {
    if (toc.entries[at].desc != "TABLE ATTACH") return false;
    const auto found = ids.dependencies(toc.entries[at]);
    const bool is_late = std::any_of(found.begin(), found.end(), [&](size_t of) { return !all.contains(of); });
    if (is_late) late.push_back(at);
    return is_late;
  });
  if (late.empty()) return;
  const auto first = std::find_if(chosen.post.begin(), chosen.post.end(),
                                  [&](size_t at) { return toc.entries[at].desc == "INDEX ATTACH"; });
  // Without indexes to attach, behind the indexes themselves: those sort before all else of the section.
  auto place = first;
  if (first == chosen.post.end()) {
    place = chosen.post.begin();
    for (auto at = chosen.post.begin(); at != chosen.post.end(); ++at)
      if (toc.entries[*at].desc == "INDEX" || toc.entries[*at].desc == "CONSTRAINT") place = at + 1;
  }
  chosen.post.insert(place, late.begin(), late.end());
}

/// Put the rows of referenced tables before those that refer to them.
void sort_by_references(const DumpToc& toc, const Ids& ids, std::vector<size_t>& data) {
  std::multimap<RelationKey, RelationKey> refers;
  for (const DumpTocEntry& entry : toc.entries) {
    if (entry.desc != "FK CONSTRAINT") continue;
    RelationKey from;
    std::vector<RelationKey> to;
    for (const size_t at : ids.dependencies(entry)) {
      const DumpTocEntry& table = ids.entry(at);
      if (!is_relation(table)) continue;
      if (from.second.empty() && table.schema == entry.schema && entry.tag.starts_with(table.tag + " "))
        from = key_of(table);
      else
        to.push_back(key_of(table));
    }
    for (const RelationKey& one : to) refers.emplace(from, one);
  }
  std::map<RelationKey, size_t> places;
  for (const size_t at : data)
    if (toc.entries[at].desc == "TABLE DATA") places.emplace(key_of(toc.entries[at]), at);
  std::vector<size_t> sorted;
  std::set<size_t> done;
  const std::function<void(size_t)> visit = [&](size_t at) {
    if (!done.insert(at).second) return;  // Also ends a circle: there is no right order then.
    const auto [first, last] = refers.equal_range(key_of(toc.entries[at]));
    for (auto of = first; of != last; ++of)
      if (const auto place = places.find(of->second); place != places.end()) visit(place->second);
    sorted.push_back(at);
  };
  for (const size_t at : data) visit(at);
  data = std::move(sorted);
}

/// Partitions with their parents, as places in the table of contents.
std::set<std::pair<size_t, size_t>> partitions_of(const DumpToc& toc, const Ids& ids) {
  std::set<std::pair<size_t, size_t>> pairs;
  for (const DumpTocEntry& entry : toc.entries) {
    if (entry.desc != "TABLE ATTACH") continue;
    const auto tables = ids.dependencies(entry);
    for (const size_t child : tables)
      for (const size_t parent : tables)
        if (child != parent && key_of(toc.entries[child]) == key_of(entry)) pairs.emplace(child, parent);
  }
  return pairs;
}

bool is_index(const DumpTocEntry& entry) { return entry.desc == "INDEX" || entry.desc == "CONSTRAINT"; }

}  // namespace

std::vector<size_t> ChosenEntries::all() const {
  std::vector<size_t> entries = pre;
  entries.insert(entries.end(), data.begin(), data.end());
  entries.insert(entries.end(), post.begin(), post.end());
  return entries;
}

bool is_relation(const DumpTocEntry& entry) {
  static constexpr std::array<std::string_view, 5> kWords = {"TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE",
                                                             "SEQUENCE"};
  return one_of(entry.desc, kWords);
}

bool is_of_database(const DumpTocEntry& entry) {
  if (entry.desc == "DATABASE" || entry.desc == "DATABASE PROPERTIES") return true;
  return is_attribute(entry) && (!entry.schema || entry.schema->empty()) && entry.tag.starts_with("DATABASE ");
}

ChosenRelations choose_relations(const std::vector<const DumpToc*>& tocs, const LoadChoice& choice) {
  ChosenRelations relations;
  relations.chosen = match_relations(tocs, choice.tables, relations.unmatched);
  std::vector<std::string> ignored;
  relations.excluded = match_relations(tocs, choice.exclude_tables, ignored);
  for (const RelationKey& key : relations.excluded) relations.chosen.erase(key);
  for (const std::string& text : choice.schemas) {
    const DumpPattern pattern(text);
    const bool found = std::any_of(tocs.begin(), tocs.end(), [&](const DumpToc* toc) {
      return std::any_of(toc->entries.begin(), toc->entries.end(), [&](const DumpTocEntry& entry) {
        return pattern.matches_name(entry.desc == "SCHEMA" ? entry.tag : entry.schema.value_or(""));
      });
    });
    if (!found) relations.unmatched.push_back(text);
  }
  return relations;
}

ChosenEntries choose_entries(const DumpToc& toc, const LoadChoice& choice, const ChosenRelations& relations) {
  const Ids ids(toc);
  const auto sections = sections_of(toc);
  const bool by_name = !choice.schemas.empty() || !choice.tables.empty();
  const auto in_schemas = mark_schemas(toc, ids, choice.schemas);
  const auto not_in_schemas = mark_schemas(toc, ids, choice.exclude_schemas);
  const auto of_tables = RelationMarker(toc, ids, relations.chosen).mark();
  const auto not_of_tables = RelationMarker(toc, ids, relations.excluded).mark();
  ChosenEntries chosen;
  for (size_t at = 0; at < toc.entries.size(); ++at) {
    const DumpTocEntry& entry = toc.entries[at];
    if (is_archive_setting(entry) || !is_wanted(entry, sections[at], choice)) continue;
    if (by_name && !in_schemas[at] && !of_tables[at]) continue;
    if (not_in_schemas[at] || not_of_tables[at]) continue;
    const Part part = part_of(entry, sections[at]);
    (part == Part::kPre ? chosen.pre : part == Part::kData ? chosen.data : chosen.post).push_back(at);
  }
  if (by_name) attach_late(toc, ids, chosen);
  if (choice.data_only) sort_by_references(toc, ids, chosen.data);
  return chosen;
}

std::vector<NeededEntry> needed_entries(const DumpToc& toc, const ChosenEntries& chosen) {
  const Ids ids(toc);
  const std::vector<size_t> all = chosen.all();
  const std::set<size_t> has(all.begin(), all.end());
  const auto partitions = partitions_of(toc, ids);
  std::set<std::pair<size_t, size_t>> needed;
  for (const size_t at : all)
    for (const size_t of : ids.dependencies(toc.entries[at])) {
      if (has.contains(of) || is_of_database(toc.entries[of]) || is_attribute(toc.entries[of])) continue;
      const bool is_parent = partitions.contains({at, of}) || (is_index(toc.entries[at]) && is_index(toc.entries[of]));
      if (!is_parent) needed.emplace(of, at);
    }
  std::vector<NeededEntry> found;
  for (const auto& [of, at] : needed) found.push_back({of, at});
  return found;
}

void add_entries(const DumpToc& toc, const LoadChoice& choice, const std::vector<size_t>& entries,
                 ChosenEntries& chosen) {
  const Ids ids(toc);
  const auto sections = sections_of(toc);
  std::set<size_t> wanted(entries.begin(), entries.end());
  for (size_t at = 0; at < toc.entries.size(); ++at) {
    if (!is_attribute(toc.entries[at]) || !is_wanted(toc.entries[at], sections[at], choice)) continue;
    const auto found = ids.dependencies(toc.entries[at]);
    if (std::any_of(found.begin(), found.end(), [&](size_t of) { return wanted.contains(of); })) wanted.insert(at);
  }
  const auto take = [&](std::vector<size_t>& into, Part part) {
    std::vector<size_t> added;
    for (const size_t at : wanted)
      if (part_of(toc.entries[at], sections[at]) == part && std::find(into.begin(), into.end(), at) == into.end())
        added.push_back(at);
    // What others need stands before them.
    into.insert(into.begin(), added.begin(), added.end());
  };
  take(chosen.pre, Part::kPre);
  take(chosen.post, Part::kPost);
}

std::optional<RelationKey> referenced_table(const DumpTocEntry& foreign_key) {
  if (foreign_key.desc != "FK CONSTRAINT" || !foreign_key.definition) return std::nullopt;
  const auto tokens = pg::split_sql_tokens(*foreign_key.definition);
  if (!tokens) return std::nullopt;
  std::vector<std::string_view> words;
  for (const pg::SqlToken& token : *tokens)
    if (token.kind != pg::SqlToken::Kind::kSpace && token.kind != pg::SqlToken::Kind::kComment)
      words.push_back(token.text);
  // pg_dump always writes the schema.
  for (size_t at = 0; at + 3 < words.size(); ++at)
    if (words[at] == "REFERENCES" && words[at + 2] == ".")
      return RelationKey{pg::identifier_name(words[at + 1]), pg::identifier_name(words[at + 3])};
  return std::nullopt;
}

void remove_entries(const DumpToc& toc, std::set<size_t> entries, ChosenEntries& chosen) {
  if (entries.empty()) return;
  const Ids ids(toc);
  for (const size_t at : chosen.all()) {
    if (!is_attribute(toc.entries[at])) continue;
    const auto found = ids.dependencies(toc.entries[at]);
    if (std::any_of(found.begin(), found.end(), [&](size_t of) { return entries.contains(of); })) entries.insert(at);
  }
  for (auto* list : {&chosen.pre, &chosen.data, &chosen.post})
    std::erase_if(*list, [&](size_t at) { return entries.contains(at); });
}

std::string entry_label(const DumpTocEntry& entry) {
  const std::string schema = entry.schema && !entry.schema->empty() ? *entry.schema + "." : std::string();
  return entry.desc + " " + schema + entry.tag;
}

}  // namespace pgark
