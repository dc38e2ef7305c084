// Labels of dumps, their manifests, the dumps a repository holds, and what was found of them.
#include "catalog/dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "catalog/dump_document.h"
#include "catalog/generation.h"
#include "catalog/json_members.h"
#include "catalog/label.h"
#include "repo/stored_file.h"
#include "store/calls_at_once.h"

namespace pgark {
namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr char kLabelEnd = 'L';
constexpr std::string_view kManifest = "/manifest";
constexpr int kManifestLevel = 3;
// A far store gives this much with one request where nobody knows how large the manifest is.
constexpr uint64_t kManifestAtOnce = 256u << 10;
// Runs of a stream in one entry: those of 100 TiB would not fit a frame.
constexpr size_t kRunsMax = 1u << 15;
// The document of many units or roles is cut where a frame could not hold it.
constexpr size_t kDocumentPieceBytes = 8u << 20;

std::string dump_prefix(const std::string& stanza) { return stanza + "/dump/"; }
NotePlace verdicts(const std::string& stanza) { return {dump_prefix(stanza), "verified"}; }

std::optional<Timestamp> label_time(std::string_view label) {
  if (label.size() != kLabelStampBytes + 1 || label.back() != kLabelEnd) return std::nullopt;
  return parse_label_stamp(label.substr(0, kLabelStampBytes));
}

/// Gathers chunks and appends them to the manifest as they fill.
class ManifestChunks {
 public:
  explicit ManifestChunks(ContainerWriter& writer) : writer_(writer) {}

  Result<> add(uint32_t unit, const DumpStream& stream) {
    if (!is_dump_stream_name(stream.name))
      return Error(Errc::kInvalid, fmt::format("stream '{}' of a dump cannot be called so", stream.name));
    size_t at = 0;
    do {
      const size_t count = std::min(kRunsMax, stream.runs.size() - at);
      chunk_.add(unit, stream, at, count);
      at += count;
      if (chunk_.bytes() >= kDumpChunkBytes) TRY(flush());
    } while (at < stream.runs.size());
    return {};
  }
  Result<> add(const DumpTable& table) {
    chunk_.add(table);
    return chunk_.bytes() >= kDumpChunkBytes ? flush() : Result<>();
  }
  Result<> flush() { return chunk_.empty() ? Result<>() : append(FrameType::kFiles, chunk_.take()); }

  Result<> append(FrameType type, const std::string& text) {
    if (text.size() > kFrameRawBytesMax)
      return Error(Errc::kInvalid, fmt::format("an entry of {} bytes is more than a manifest holds", text.size()));
    TRY(writer_.append(type, as_bytes(text), compressor_));
    return {};
  }

 private:
  ContainerWriter& writer_;
  Compressor compressor_{Codec::kZstd, kManifestLevel};
  DumpChunk chunk_;
};

/// The document, which comes last, so that a read of the object's end gives what a listing needs.
Result<> append_document(ManifestChunks& chunks, const Dump& dump) {
  uint64_t raw_bytes = 0;
  uint64_t stream_count = 0;
  for (const DumpUnit& unit : dump.meta.units) {
    raw_bytes += unit.raw_bytes();
    stream_count += unit.streams.size();
  }
  const std::string document = encode_dump_meta(dump.meta, raw_bytes, stream_count);
  for (size_t at = 0; at < document.size(); at += kDocumentPieceBytes)
    TRY(chunks.append(FrameType::kMeta, document.substr(at, kDocumentPieceBytes)));
  return {};
}

Result<ObjectInfo> write_manifest(const RepositorySet& repositories, const ObjectKey& key, const Dump& dump) {
  TRY_ASSIGN(ContainerWriter writer, ContainerWriter::create(repositories, key, ContainerKind::kManifest));
  ManifestChunks chunks(writer);
  for (uint32_t unit = 0; unit < dump.meta.units.size(); ++unit)
    for (const DumpStream& stream : dump.meta.units[unit].streams) TRY(chunks.add(unit, stream));
  TRY(chunks.flush());
  for (const DumpTable& table : dump.tables) TRY(chunks.add(table));
  TRY(chunks.flush());
  TRY(append_document(chunks, dump));
  return std::move(writer).commit();
}

Result<ContainerReader> open_manifest(const Repository& repository, const std::string& stanza, const std::string& label,
                                      uint64_t object_bytes) {
  auto opened =
      ContainerReader::open(repository, dump_manifest_key(stanza, label), ContainerKind::kManifest,
                            {.object_bytes = object_bytes, .whole_bytes_max = object_bytes == 0 ? kManifestAtOnce : 0});
  if (opened.has_value()) return opened;
  if (opened.error().code() != Errc::kNotFound)
    return Error(std::move(opened).error()).with_context("read manifest of dump " + label);
  return Error(Errc::kNotFound,
               fmt::format("dump {} of stanza {} does not exist in {}", label, stanza, repository.store().describe()))
      .with_hint(fmt::format("run 'pgark --stanza={} dump-ls' to see the dumps there are", stanza));
}

Result<DumpMeta> read_document(const ContainerReader& manifest, const std::string& label) {
  const std::string context = "read manifest of dump " + label;
  std::string document;
  for (const FrameRef& frame : manifest.frames()) {
    if (frame.type != FrameType::kMeta) continue;
    TRY_ASSIGN_CTX(const Buffer piece, manifest.read(frame), context);
    document += as_text(piece);
  }
  TRY_ASSIGN_CTX(DumpMeta meta, decode_dump_meta(document), context);
  if (meta.label != label)
    return Error(Errc::kCorrupt, fmt::format("{}: it says it is of dump {}", context, meta.label));
  return meta;
}

/// What one listing tells: manifests by label.
Result<std::map<std::string, uint64_t>> list_manifests(const Repository& repository, const std::string& stanza) {
  const std::string prefix = dump_prefix(stanza);
  TRY_ASSIGN_CTX(const auto objects, list_beside_packs(repository.store(), prefix), "list dumps of stanza " + stanza);
  std::map<std::string, uint64_t> manifests;  // Labels sort as their times do.
  for (const ObjectInfo& object : objects) {
    const std::string_view name = std::string_view(object.key.value).substr(prefix.size());
    if (!name.ends_with(kManifest)) continue;
    const std::string_view label = name.substr(0, name.size() - kManifest.size());
    if (is_dump_label(label)) manifests[std::string(label)] = object.bytes;
  }
  return manifests;
}

/// A name among others, told apart from them whatever it holds.
std::string quote_name(const std::string& name) {
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.' || c == '=' || c == '*' || c == '?' || static_cast<unsigned char>(c) >= 0x80;
  });
  if (plain) return name;
  std::string quoted = "\"";
  for (const char c : name) {
    if (c == '"') quoted += c;
    quoted += c;
  }
  return quoted + '"';
}

std::string join_sorted(std::vector<std::string> names, std::string_view separator) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string joined;
  for (const std::string& name : names) {
    if (!joined.empty()) joined += separator;
    joined += quote_name(name);
  }
  return joined;
}

std::string encode_verdict(const DumpVerdict& verdict) {
  json findings = json::array();
  for (const std::string& finding : verdict.findings) findings.push_back(foreign_text(finding));
  return json{
      {"when_us", microseconds(verdict.when)}, {"ok", verdict.ok},         {"where", foreign_text(verdict.where)},
      {"findings", std::move(findings)},       {"tables", verdict.tables}, {"checks", verdict.checks}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<DumpVerdict> decode_verdict(const std::string& text) {
  const json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return Error(Errc::kCorrupt, "document is no JSON");
  DumpVerdict verdict;
  std::optional<Error> failure;
  JsonMembers document(parsed, "", failure);
  document.time("when_us", verdict.when);
  document.boolean("ok", verdict.ok);
  document.text("where", verdict.where, false);
  document.texts("findings", verdict.findings);
  document.integer("tables", verdict.tables, false);
  document.integer("checks", verdict.checks, false);
  if (failure.has_value()) return std::move(*failure);
  return verdict;
}

/// None if it was removed with its dump since the listing.
Result<std::optional<DumpVerdict>> read_verdict(const Repository& repository, const std::string& stanza,
                                                const std::string& label, unsigned number) {
  const std::string context = fmt::format("read verdict {} of dump {}", number, label);
  auto text = read_record(repository, verdicts(stanza).key(label, number));
  if (!text && text.error().code() == Errc::kNotFound) return std::optional<DumpVerdict>();
  TRY_CTX(text, context);
  TRY_ASSIGN_CTX(DumpVerdict verdict, decode_verdict(*text), context);
  return std::optional(std::move(verdict));
}

}  // namespace

std::string_view dump_format_name(DumpFormat format) {
  switch (format) {
    case DumpFormat::kDirectory:
      return "directory";
    case DumpFormat::kCustom:
      return "custom";
    case DumpFormat::kPlain:
      return "plain";
    case DumpFormat::kTar:
      return "tar";
  }
  return "";
}

Result<DumpFormat> parse_dump_format(std::string_view text) {
  for (const DumpFormat format : {DumpFormat::kDirectory, DumpFormat::kCustom, DumpFormat::kPlain, DumpFormat::kTar}) {
    const std::string_view name = dump_format_name(format);
    if (text == name || text == name.substr(0, 1)) return format;
  }
  return Error(Errc::kInvalid, fmt::format("'{}' is no format of dumps", text))
      .with_hint("the formats are directory, custom, plain and tar, or d, c, p and t");
}

std::string_view dump_unit_kind_name(DumpUnit::Kind kind) {
  switch (kind) {
    case DumpUnit::Kind::kWhole:
      return "whole";
    case DumpUnit::Kind::kCommon:
      return "common";
    case DumpUnit::Kind::kSchema:
      return "schema";
    case DumpUnit::Kind::kDefinition:
      return "definition";
    case DumpUnit::Kind::kPartition:
      return "partition";
    case DumpUnit::Kind::kGlobals:
      return "globals";
    case DumpUnit::Kind::kGiven:
      return "given";
  }
  return "";
}

uint64_t DumpUnit::raw_bytes() const {
  uint64_t sum = 0;
  for (const DumpStream& stream : streams) sum += stream.raw_bytes;
  return sum;
}

unsigned DumpMeta::pg_major() const { return pg_version_num / 10000; }

std::string next_dump_label(Timestamp started, const std::vector<std::string>& used) {
  Timestamp time = std::chrono::floor<seconds>(started);
  for (const std::string& label : used)
    if (const auto other = label_time(label)) time = std::max(time, *other + seconds(1));
  return format_label_stamp(time) + kLabelEnd;
}

bool is_dump_label(std::string_view text) { return label_time(text).has_value(); }

Result<> parse_dump_label(std::string_view text) {
  if (is_dump_label(text)) return {};
  return Error(Errc::kInvalid, fmt::format("'{}' is no label of a dump", text))
      .with_hint("a label looks like 20261122-101500L; dump-ls lists them");
}

std::string dump_series(const std::vector<std::string>& databases, const std::vector<std::string>& selection,
                        const std::string& name) {
  if (!name.empty()) return "name " + quote_name(name);
  std::string series = databases.empty()       ? "all databases"
                       : databases.size() == 1 ? "database " + quote_name(databases.front())
                                               : "databases " + join_sorted(databases, ",");
  if (!selection.empty()) series += " " + join_sorted(selection, " ");
  return series;
}

ObjectKey dump_pack_key(const std::string& stanza, const std::string& label, uint32_t number) {
  return {fmt::format("{}{}/{:06}", dump_prefix(stanza), label, number)};
}

ObjectKey dump_manifest_key(const std::string& stanza, const std::string& label) {
  return {dump_prefix(stanza) + label + std::string(kManifest)};
}

Result<ObjectInfo> write_dump(const RepositorySet& repositories, const std::string& stanza, const Dump& dump) {
  const std::string& label = dump.meta.label;
  TRY_ASSIGN_CTX(ObjectInfo written, write_manifest(repositories, dump_manifest_key(stanza, label), dump),
                 "write manifest of dump " + label);
  return written;
}

Result<DumpMeta> read_dump_meta(const Repository& repository, const std::string& stanza, const std::string& label) {
  TRY_ASSIGN(const ContainerReader manifest, open_manifest(repository, stanza, label, 0));
  return read_document(manifest, label);
}

Result<Dump> read_dump(const Repository& repository, const std::string& stanza, const std::string& label) {
  const std::string context = "read manifest of dump " + label;
  TRY_ASSIGN(ContainerReader manifest, open_manifest(repository, stanza, label, 0));
  if (is_far(repository.store())) TRY_CTX(manifest.load(), context);
  Dump dump;
  TRY_ASSIGN(dump.meta, read_document(manifest, label));
  for (const FrameRef& frame : manifest.frames()) {
    if (frame.type != FrameType::kFiles) continue;
    TRY_ASSIGN_CTX(const Buffer raw, manifest.read(frame), context);
    TRY_CTX(decode_dump_chunk(as_text(raw), dump), context);
  }
  uint64_t stream_count = 0;
  for (const DumpUnit& unit : dump.meta.units) stream_count += unit.streams.size();
  if (stream_count != dump.meta.stream_count)
    return Error(Errc::kCorrupt,
                 fmt::format("{}: it lists {} streams of {}", context, stream_count, dump.meta.stream_count));
  return dump;
}

bool is_same_dump(const DumpMeta& a, const DumpMeta& b) {
  const auto facts = [](const DumpMeta& m) {
    return std::tie(m.label, m.series, m.host, m.system_identifier, m.started, m.stopped, m.raw_bytes, m.stored_bytes,
                    m.pack_count, m.stream_count);
  };
  return facts(a) == facts(b);
}

Result<std::vector<std::string>> list_dump_labels(const Repository& repository, const std::string& stanza) {
  TRY_ASSIGN(const auto manifests, list_manifests(repository, stanza));
  std::vector<std::string> labels;
  for (const auto& [label, bytes] : manifests) labels.push_back(label);
  return labels;
}

Result<std::vector<std::string>> list_used_dump_labels(const Repository& repository, const std::string& stanza) {
  std::vector<std::string> labels;
  // Tombstones count too: what a label named does not change.
  for (const std::string& prefix : {dump_prefix(stanza), stanza + "/expire/"})
    TRY_CTX(append_components(repository.store(), prefix, labels), "list dumps of stanza " + stanza);
  // A later tombstone of a label has ".r1" behind it.
  std::erase_if(labels, [](const std::string& label) { return !is_dump_label(label); });
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
  return labels;
}

Result<std::vector<ListedDump>> list_dumps(const Repository& repository, const std::string& stanza) {
  TRY_ASSIGN(const auto manifests, list_manifests(repository, stanza));
  const std::vector<std::pair<std::string, uint64_t>> listed(manifests.begin(), manifests.end());
  std::vector<std::optional<ListedDump>> read(listed.size());
  TRY(for_each_call(repository.store(), listed.size(), [&](size_t i) -> Result<> {
    const auto& [label, bytes] = listed[i];
    const auto manifest = open_manifest(repository, stanza, label, bytes);
    auto meta = manifest ? read_document(*manifest, label) : Result<DumpMeta>(manifest.error());
    if (meta.has_value())
      read[i] = {label, std::move(*meta), std::nullopt};
    else if (meta.error().code() != Errc::kNotFound)  // Else it was removed since the listing.
      read[i] = {label, std::nullopt, std::move(meta).error()};
    return {};
  }));
  std::vector<ListedDump> dumps;
  for (auto& dump : read)
    if (dump.has_value()) dumps.push_back(std::move(*dump));
  return dumps;
}

Result<> write_dump_verdict(const Repository& repository, const std::string& stanza, const std::string& label,
                            const DumpVerdict& verdict) {
  const std::string context = "record what was found of dump " + label;
  TRY_CTX(read_dump_meta(repository, stanza, label), context);
  TRY_CTX(write_note(repository, verdicts(stanza), label, encode_verdict(verdict)), context);
  return {};
}

Result<std::map<std::string, DumpVerdict>> read_dump_verdicts(const Repository& repository, const std::string& stanza) {
  TRY_ASSIGN_CTX(const auto numbers, newest_notes(repository, verdicts(stanza)),
                 "list what was found of dumps of stanza " + stanza);
  const std::vector<std::pair<std::string, unsigned>> notes(numbers.begin(), numbers.end());
  std::vector<std::optional<DumpVerdict>> read(notes.size());
  TRY(for_each_call(repository.store(), notes.size(), [&](size_t i) -> Result<> {
    TRY_ASSIGN(read[i], read_verdict(repository, stanza, notes[i].first, notes[i].second));
    return {};
  }));
  std::map<std::string, DumpVerdict> found;
  for (size_t i = 0; i < notes.size(); ++i)
    if (read[i]) found[notes[i].first] = std::move(*read[i]);
  return found;
}

}  // namespace pgark
