// Decoding and encoding the head of pg_dump's archives, field by field as pg_dump writes them.
#include "pg/dump_toc.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/check.h"

namespace pgark::pg {
namespace {

constexpr std::string_view kMagic = "PGDMP";
constexpr unsigned kMajor = 1;
constexpr unsigned kMinorFirst = 12;            // 9.0 to 10.2; 1.13 has the same bytes.
constexpr unsigned kMinorLast = 16;             // 17 to 19.
constexpr unsigned kMinorAccessMethods = 14;    // 12
constexpr unsigned kMinorAlgorithms = 15;       // 16
constexpr unsigned kMinorRelkinds = 16;         // 17
constexpr uint64_t kStringBytesMax = 1u << 30;  // PostgreSQL's own limit of a text.
constexpr size_t kEntryBytesMin = 60;

Error corrupt(std::string_view what) { return {Errc::kCorrupt, fmt::format("read table of contents: {}", what)}; }

// An entry has the same fields in the same order in both directions: one function visits them, a Reader or a Writer
// does the rest.
template <typename Visitor, typename Toc, typename Entry>
bool visit_entry(Visitor& v, Toc& toc, Entry& entry) {
  v.integer(entry.dump_id);
  v.flag(entry.has_data);
  v.oid(entry.table_oid);
  v.oid(entry.oid);
  v.text(entry.tag);
  v.text(entry.desc);
  v.section(entry.section);
  v.text(entry.definition);
  v.text(entry.drop_statement);
  v.text(entry.copy_statement);
  v.text(entry.schema);
  v.text(entry.tablespace);
  if (toc.version_minor >= kMinorAccessMethods) v.text(entry.table_access_method);
  if (toc.version_minor >= kMinorRelkinds) v.integer(entry.relkind);
  v.text(entry.owner);
  v.text(entry.with_oids);
  v.dependencies(entry.dependencies);
  if (toc.format == DumpToc::Format::kCustom) {
    v.byte(entry.offset_state);
    v.offset(entry.offset);
  } else {
    v.text(entry.file_name);
  }
  return v.ok();
}

template <typename Visitor, typename Toc>
void visit_head(Visitor& v, Toc& toc) {
  if (toc.version_minor >= kMinorAlgorithms) {
    v.small(toc.compression);
  } else {
    v.integer(toc.compression);
  }
  for (auto& part : toc.created) v.integer(part);
  v.text(toc.database);
  v.text(toc.server_version);
  v.text(toc.dump_version);
}

// After the first thing that does not fit, every read yields nothing; what was wrong is kept.
class Reader {
 public:
  Reader(Bytes bytes, uint8_t int_bytes, uint8_t offset_bytes)
      : bytes_(bytes), int_bytes_(int_bytes), offset_bytes_(offset_bytes) {}

  bool ok() const { return !incomplete_ && wrong_.empty(); }
  size_t at() const { return at_; }
  size_t remaining() const { return bytes_.size() - at_; }
  Error error() const {
    if (!wrong_.empty()) return corrupt(fmt::format("{} (byte {})", wrong_, at_));
    return {Errc::kNotFound, "read table of contents: it goes on behind the bytes at hand"};
  }
  void fail(std::string_view what) {
    if (ok()) wrong_ = what;
  }
  void skip(size_t count) { take(count); }

  void byte(uint8_t& value) {
    if (take(1)) value = static_cast<uint8_t>(bytes_[at_ - 1]);
  }
  void small(int32_t& value) {
    uint8_t raw = 0;
    byte(raw);
    value = raw;
  }
  // A byte for the sign, then the magnitude.
  void integer(int32_t& value) {
    if (!take(1u + int_bytes_)) return;
    const size_t start = at_ - int_bytes_;
    const auto sign = static_cast<uint8_t>(bytes_[start - 1]);
    const uint64_t magnitude = little_endian(start, int_bytes_);
    if (sign > 1 || magnitude > (sign == 1 ? uint64_t{1} << 31 : (uint64_t{1} << 31) - 1) ||
        (sign == 1 && magnitude == 0))
      return fail("an integer is out of range");
    value = static_cast<int32_t>(sign == 1 ? -static_cast<int64_t>(magnitude) : static_cast<int64_t>(magnitude));
  }
  void flag(bool& value) {
    int32_t raw = 0;
    integer(raw);
    if (raw != 0 && raw != 1) return fail("a flag is neither 0 nor 1");
    value = raw == 1;
  }
  void section(DumpSection& value) {
    int32_t raw = 0;
    integer(raw);
    if (!ok()) return;
    if (raw < 1 || raw > 4) return fail("a section is not known");
    value = static_cast<DumpSection>(raw);
  }
  void offset(uint64_t& value) {
    if (take(offset_bytes_)) value = little_endian(at_ - offset_bytes_, offset_bytes_);
  }
  void text(std::optional<std::string>& value) {
    int32_t length = 0;
    integer(length);
    if (!ok()) return;
    if (length == -1) {
      value.reset();
      return;
    }
    if (length < 0 || static_cast<uint64_t>(length) > kStringBytesMax) return fail("a string has an impossible length");
    if (!take(static_cast<size_t>(length))) return;
    const Bytes raw = bytes_.subspan(at_ - static_cast<size_t>(length), static_cast<size_t>(length));
    value.emplace(as_text(raw));
  }
  void text(std::string& value) {
    std::optional<std::string> maybe;
    text(maybe);
    if (!ok()) return;
    if (!maybe) return fail("a string that must be there is missing");
    value = *std::move(maybe);
  }
  // As decimal text, for historical reasons.
  void oid(uint32_t& value) {
    std::string digits;
    text(digits);
    if (!ok()) return;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || fmt::to_string(value) != digits)
      fail("an object id is no number");
  }
  // Strings, ended by one that is missing.
  void dependencies(std::vector<std::string>& value) {
    while (ok()) {
      std::optional<std::string> one;
      text(one);
      if (!one) return;
      value.push_back(*std::move(one));
    }
  }

 private:
  bool take(size_t count) {
    if (!ok()) return false;
    if (count > remaining()) {
      incomplete_ = true;
      return false;
    }
    at_ += count;
    return true;
  }
  uint64_t little_endian(size_t start, size_t count) const {
    uint64_t value = 0;
    for (size_t i = 0; i < count; ++i) value |= static_cast<uint64_t>(bytes_[start + i]) << (8 * i);
    return value;
  }

  Bytes bytes_;
  size_t at_ = 0;
  uint8_t int_bytes_;
  uint8_t offset_bytes_;
  bool incomplete_ = false;
  std::string wrong_;
};

class Writer {
 public:
  Writer(uint8_t int_bytes, uint8_t offset_bytes) : int_bytes_(int_bytes), offset_bytes_(offset_bytes) {}

  static bool ok() { return true; }
  std::vector<std::byte> take() && { return std::move(out_); }

  void raw(std::string_view bytes) { out_.insert(out_.end(), as_bytes(bytes).begin(), as_bytes(bytes).end()); }
  void byte(uint8_t value) { out_.push_back(static_cast<std::byte>(value)); }
  void small(int32_t value) { byte(static_cast<uint8_t>(value)); }
  void integer(int32_t value) {
    byte(uint8_t{value < 0});
    const int64_t wide = value;
    little_endian(static_cast<uint64_t>(wide < 0 ? -wide : wide), int_bytes_);
  }
  void flag(bool value) { integer(value ? 1 : 0); }
  void section(DumpSection value) { integer(static_cast<int32_t>(value)); }
  void offset(uint64_t value) { little_endian(value, offset_bytes_); }
  void text(const std::string& value) {
    CHECK(value.size() <= kStringBytesMax);
    integer(static_cast<int32_t>(value.size()));
    raw(value);
  }
  void text(const std::optional<std::string>& value) {
    if (value) {
      text(*value);
    } else {
      integer(-1);
    }
  }
  void oid(uint32_t value) { text(fmt::to_string(value)); }
  void dependencies(const std::vector<std::string>& value) {
    for (const std::string& one : value) text(one);
    integer(-1);
  }

 private:
  void little_endian(uint64_t value, size_t count) {
    for (size_t i = 0; i < count; ++i) byte(static_cast<uint8_t>(i < 8 ? value >> (8 * i) : 0));
  }

  std::vector<std::byte> out_;
  uint8_t int_bytes_;
  uint8_t offset_bytes_;
};

// Magic, version, sizes and format: what the meaning of all that follows depends on.
Result<DumpToc> read_signature(Bytes bytes) {
  if (!looks_like_archive(bytes)) {
    if (bytes.size() < kMagic.size() && kMagic.starts_with(as_text(bytes)))
      return Error(Errc::kNotFound, "read table of contents: there is no more than its beginning");
    return Error(Errc::kInvalid, "read table of contents: these bytes are no archive of pg_dump");
  }
  Reader reader(bytes, 4, 8);
  reader.skip(kMagic.size());
  uint8_t major = 0, minor = 0, revision = 0, format = 0;
  DumpToc toc;
  for (uint8_t* field : {&major, &minor, &revision, &toc.int_bytes, &toc.offset_bytes, &format}) reader.byte(*field);
  if (!reader.ok()) return reader.error();
  if (major != kMajor || minor < kMinorFirst || minor > kMinorLast)
    return Error(Errc::kUnsupported,
                 fmt::format("read table of contents: version {}.{} of the archive format is not known; {}.{} to "
                             "{}.{} are (pg_dump 9.0 to 19)",
                             major, minor, kMajor, kMinorFirst, kMajor, kMinorLast));
  toc.version_major = major;
  toc.version_minor = minor;
  toc.version_revision = revision;
  toc.format = static_cast<DumpToc::Format>(format);
  if (toc.format != DumpToc::Format::kCustom && toc.format != DumpToc::Format::kTar &&
      toc.format != DumpToc::Format::kDirectory)
    return Error(Errc::kUnsupported, fmt::format("read table of contents: archive format {} is not known", format));
  if ((toc.int_bytes != 4 && toc.int_bytes != 8) || (toc.offset_bytes != 4 && toc.offset_bytes != 8))
    return corrupt("sizes of integers are impossible");
  toc.toc_bytes = reader.at();
  return toc;
}

}  // namespace

unsigned DumpToc::dump_major() const {
  unsigned major = 0;
  std::from_chars(dump_version.data(), dump_version.data() + dump_version.size(), major);
  return major;
}

bool looks_like_archive(Bytes head) { return as_text(head).starts_with(kMagic); }

Result<DumpToc> read_dump_toc(Bytes bytes) {
  TRY_ASSIGN(DumpToc toc, read_signature(bytes));
  Reader reader(bytes, toc.int_bytes, toc.offset_bytes);
  reader.skip(toc.toc_bytes);
  visit_head(reader, toc);
  int32_t count = 0;
  reader.integer(count);
  if (reader.ok() && count < 0) reader.fail("the number of entries is negative");
  if (!reader.ok()) return reader.error();
  // A count is believed as far as there are bytes for it.
  toc.entries.reserve(std::min(static_cast<size_t>(count), reader.remaining() / kEntryBytesMin));
  for (int32_t i = 0; i < count; ++i)
    if (!visit_entry(reader, toc, toc.entries.emplace_back())) return reader.error();
  toc.toc_bytes = reader.at();
  return toc;
}

std::vector<std::byte> write_dump_toc(const DumpToc& toc) {
  Writer writer(toc.int_bytes, toc.offset_bytes);
  writer.raw(kMagic);
  for (const unsigned part : {toc.version_major, toc.version_minor, toc.version_revision})
    writer.byte(static_cast<uint8_t>(part));
  writer.byte(toc.int_bytes);
  writer.byte(toc.offset_bytes);
  writer.byte(static_cast<uint8_t>(toc.format));
  visit_head(writer, toc);
  writer.integer(static_cast<int32_t>(toc.entries.size()));
  for (const DumpTocEntry& entry : toc.entries) visit_entry(writer, toc, entry);
  return std::move(writer).take();
}

}  // namespace pgark::pg
