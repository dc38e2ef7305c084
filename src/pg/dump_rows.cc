// Counting the rows of COPY's text as it passes by, in the three shapes pg_dump writes it.
#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "pg/dump_toc.h"

namespace pgark::pg {
namespace {

// A table of contents larger than this is not kept for counting.
constexpr size_t kTocBytesMax = size_t{1} << 30;
constexpr size_t kStatementBytesMax = size_t{1} << 20;  // COPY of 1600 columns with long quoted names has half of it.

// COPY's text escapes line ends in data, so that a line is a row; it ends with a line "\.", which no row can be.
class CopyText {
 public:
  // Take bytes until the end line was seen; the number taken.
  size_t take(Bytes data) {
    size_t at = 0;
    while (at < data.size() && !ended_) {
      if (matched_ == kNothing) {
        const void* found = std::memchr(data.data() + at, '\n', data.size() - at);
        if (found == nullptr) return data.size();
        at = static_cast<size_t>(static_cast<const std::byte*>(found) - data.data());
      }
      step(static_cast<char>(data[at++]));
    }
    return at;
  }
  bool ended() const { return ended_; }
  uint64_t rows() const { return rows_; }

 private:
  static constexpr int kNothing = -1;

  void step(char c) {
    if (c == '\n') {
      if (matched_ == 2) {
        ended_ = true;
      } else {
        ++rows_;
      }
      matched_ = 0;
    } else if (matched_ == 0 && c == '\\') {
      matched_ = 1;
    } else if (matched_ == 1 && c == '.') {
      matched_ = 2;
    } else {
      matched_ = kNothing;
    }
  }

  uint64_t rows_ = 0;
  int matched_ = 0;  // Of "\." at the beginning of the line.
  bool ended_ = false;
};

// One table's data of an archive: COPY's text, then only empty lines.
class TableData {
 public:
  void add(Bytes data) {
    data = data.subspan(copy_.take(data));
    for (const std::byte c : data)
      if (c != std::byte{'\n'}) is_copy_ = false;
  }
  bool is_complete() const { return is_copy_ && copy_.ended(); }
  uint64_t rows() const { return copy_.rows(); }

 private:
  CopyText copy_;
  bool is_copy_ = true;
};

class DirectoryFileRows : public DumpRowCounter {
 public:
  void add(Bytes data) override { data_.add(data); }
  std::vector<Count> counts() const override {
    if (!data_.is_complete()) return {};
    return {Count{"", 0, data_.rows()}};
  }

 private:
  TableData data_;
};

// ---- custom ---------------------------------------------------------------------------------------------------------

// Behind the table of contents: blocks, each a type, the entry's dump id, and pieces with their lengths, up to a piece
// of no length. A block of large objects has an object id before the pieces of each, 0 after the last.
class CustomArchive {
 public:
  void add(Bytes data) {
    if (expect_ != Expect::kToc) return blocks(data);
    head_.insert(head_.end(), data.begin(), data.end());
    if (head_.size() >= read_at_) settle();
  }

  // Read the table of contents from what came of it.
  void settle() {
    if (expect_ != Expect::kToc) return;
    auto toc = read_dump_toc(head_);
    if (!toc) return wait_or_stop(toc.error());
    const std::vector<std::byte> rest(head_.begin() + static_cast<ptrdiff_t>(toc->toc_bytes), head_.end());
    head_ = {};
    begin(*std::move(toc));
    blocks(rest);
  }

  const std::optional<DumpToc>& toc() const { return toc_; }
  std::vector<DumpRowCounter::Count> counts() const {
    std::vector<DumpRowCounter::Count> all;
    for (const auto& [dump_id, rows] : rows_) all.push_back({names_.at(dump_id), dump_id, rows});
    return all;
  }

 private:
  enum class Expect { kToc, kType, kDumpId, kObject, kLength, kPiece, kNothing };
  static constexpr int kTypeData = 1;
  static constexpr int kTypeLargeObjects = 3;

  void wait_or_stop(const Error& error) {
    if (error.code() == Errc::kNotFound && head_.size() < kTocBytesMax) {
      read_at_ = 2 * head_.size();  // So that a long one is not read from its beginning for each piece that comes.
      return;
    }
    expect_ = Expect::kNothing;
    head_ = {};
  }

  void begin(DumpToc toc) {
    integer_bytes_ = 1u + toc.int_bytes;
    for (const DumpTocEntry& entry : toc.entries)
      if (entry.copy_statement && !entry.copy_statement->empty())
        names_[entry.dump_id] = quoted(entry.schema.value_or("")) + "." + quoted(entry.tag);
    expect_ = toc.format == DumpToc::Format::kCustom && toc.compression == 0 ? Expect::kType : Expect::kNothing;
    toc_ = std::move(toc);
  }

  static std::string quoted(const std::string& name) {
    std::string text = "\"";
    for (const char c : name) text.append(c == '"' ? 2 : 1, c);
    return text + '"';
  }

  void blocks(Bytes data) {
    while (!data.empty() && expect_ != Expect::kNothing) {
      if (expect_ == Expect::kPiece) {
        const size_t count = static_cast<size_t>(std::min<uint64_t>(data.size(), piece_left_));
        if (is_counted_) table_.add(data.first(count));
        data = data.subspan(count);
        piece_left_ -= count;
        if (piece_left_ == 0) expect_ = Expect::kLength;
        continue;
      }
      const size_t wanted = expect_ == Expect::kType ? 1 : integer_bytes_;
      const size_t count = std::min(wanted - field_.size(), data.size());
      field_.insert(field_.end(), data.begin(), data.begin() + static_cast<ptrdiff_t>(count));
      data = data.subspan(count);
      if (field_.size() < wanted) return;
      field();
      field_.clear();
    }
  }

  void field() {
    switch (expect_) {
      case Expect::kType:
        type_ = static_cast<int>(field_[0]);
        // Whatever else follows is nothing to count: some versions write the table of contents again.
        expect_ = type_ == kTypeData || type_ == kTypeLargeObjects ? Expect::kDumpId : Expect::kNothing;
        return;
      case Expect::kDumpId: {
        const auto dump_id = integer();
        if (!dump_id) return;
        dump_id_ = static_cast<int32_t>(*dump_id);
        is_counted_ = type_ == kTypeData && names_.contains(dump_id_);
        table_ = TableData();
        expect_ = type_ == kTypeData ? Expect::kLength : Expect::kObject;
        return;
      }
      case Expect::kObject:
        if (const auto oid = integer()) expect_ = *oid == 0 ? Expect::kType : Expect::kLength;
        return;
      case Expect::kLength: {
        const auto length = integer();
        if (!length) return;
        if (*length < 0) {
          expect_ = Expect::kNothing;
        } else if (*length > 0) {
          piece_left_ = static_cast<uint64_t>(*length);
          expect_ = Expect::kPiece;
        } else {
          end_of_pieces();
        }
        return;
      }
      default:
        return;
    }
  }

  void end_of_pieces() {
    if (is_counted_ && table_.is_complete()) rows_[dump_id_] = table_.rows();
    expect_ = type_ == kTypeData ? Expect::kType : Expect::kObject;
  }

  std::optional<int64_t> integer() {
    uint64_t magnitude = 0;
    for (size_t i = 1; i < field_.size(); ++i) magnitude |= static_cast<uint64_t>(field_[i]) << (8 * (i - 1));
    if (field_[0] > std::byte{1} || magnitude > uint64_t{1} << 31) {
      expect_ = Expect::kNothing;
      return std::nullopt;
    }
    return field_[0] == std::byte{1} ? -static_cast<int64_t>(magnitude) : static_cast<int64_t>(magnitude);
  }

  Expect expect_ = Expect::kToc;
  std::vector<std::byte> head_;
  size_t read_at_ = 4096;
  std::optional<DumpToc> toc_;
  std::map<int32_t, std::string> names_;  // Of entries whose data are COPY's text.
  std::map<int32_t, uint64_t> rows_;
  size_t integer_bytes_ = 5;
  std::vector<std::byte> field_;  // As much of it as has come.
  int type_ = 0;
  int32_t dump_id_ = 0;
  bool is_counted_ = false;
  uint64_t piece_left_ = 0;
  TableData table_;
};

class CustomRows : public DumpRowCounter {
 public:
  void add(Bytes data) override { archive_->add(data); }
  const DumpToc* toc() const override {
    archive_->settle();
    return archive_->toc() ? &*archive_->toc() : nullptr;
  }
  std::vector<Count> counts() const override {
    archive_->settle();
    return archive_->counts();
  }

 private:
  // What is looked at changes what was understood, not what was counted.
  std::unique_ptr<CustomArchive> archive_ = std::make_unique<CustomArchive>();
};

// ---- plain ----------------------------------------------------------------------------------------------------------

bool is_identifier_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

// Follows a script byte by byte: only a statement outside of strings, comments and bodies of functions is a COPY.
class PlainRows : public DumpRowCounter {
 public:
  void add(Bytes data) override {
    while (!data.empty()) {
      if (state_ == State::kCopyData) {
        data = data.subspan(copy_.take(data));
        if (copy_.ended()) end_of_copy();
        continue;
      }
      step(static_cast<char>(data[0]));
      data = data.subspan(1);
    }
  }

  std::vector<Count> counts() const override {
    std::vector<Count> all;
    for (const auto& [name, table] : tables_)
      if (!table.is_ambiguous) all.push_back(Count{name, 0, table.rows});
    return all;
  }

 private:
  enum class State {
    kStatement,
    kLineComment,
    kBlockComment,
    kString,
    kStringEnd,  // Behind a quote, which two of do not end it.
    kIdentifier,
    kDollarTag,
    kDollarBody,
    kMeta,      // A line for psql.
    kCopyLine,  // The rest of the line behind COPY's semicolon.
    kCopyData,
  };
  struct Table {
    uint64_t rows = 0;
    size_t connection = 0;
    bool is_ambiguous = false;  // In a script of several databases.
  };

  void step(char c) {
    switch (state_) {
      case State::kStatement:
        return statement(c);
      case State::kLineComment:
        if (c == '\n') to_statement('\n');
        return;
      case State::kBlockComment:
        if (previous_ == '/' && c == '*') ++depth_, c = 0;
        if (previous_ == '*' && c == '/') {
          c = 0;
          if (--depth_ == 0) return to_statement(' ');
        }
        previous_ = c;
        return;
      case State::kString:
        keep(c);
        if (is_escaped_) {
          is_escaped_ = false;
        } else if (c == '\\' && has_escapes_) {
          is_escaped_ = true;
        } else if (c == '\'') {
          state_ = State::kStringEnd;
        }
        return;
      case State::kStringEnd:
        if (c == '\'') {
          keep(c);
          state_ = State::kString;
          return;
        }
        to_statement('\'');
        return statement(c);
      case State::kIdentifier:
        keep(c);
        if (c == '"') to_statement('"');
        return;
      case State::kDollarTag:
        return dollar_tag(c);
      case State::kDollarBody:
        return dollar_body(c);
      case State::kMeta:
        return meta(c);
      case State::kCopyLine:
        if (c == '\n') {
          copy_ = CopyText();
          state_ = State::kCopyData;
        }
        return;
      case State::kCopyData:
        return;
    }
  }

  void to_statement(char previous) {
    state_ = State::kStatement;
    previous_ = previous;
  }

  void keep(char c) {
    if (text_.size() < kStatementBytesMax) text_ += c;
  }

  void statement(char c) {
    const char previous = std::exchange(previous_, c);
    if (previous == '-' && c == '-') {
      text_.pop_back();
      state_ = State::kLineComment;
      return;
    }
    if (previous == '/' && c == '*') {
      text_.pop_back();
      state_ = State::kBlockComment;
      depth_ = 1;
      previous_ = 0;
      return;
    }
    if (text_.empty() && (c == ' ' || c == '\n' || c == '\t' || c == '\r')) return;
    if (c == ';') return end_of_statement();
    if (text_.empty() && c == '\\') {
      state_ = State::kMeta;
      return;
    }
    if (c == '\'') {
      has_escapes_ = backslash_escapes_ || ((previous == 'E' || previous == 'e') && is_whole_word_e());
      is_escaped_ = false;
      state_ = State::kString;
    } else if (c == '"') {
      state_ = State::kIdentifier;
    } else if (c == '$' && !is_identifier_byte(previous)) {
      tag_ = "$";
      state_ = State::kDollarTag;
    }
    keep(c);
  }

  bool is_whole_word_e() const { return text_.size() < 2 || !is_identifier_byte(text_[text_.size() - 2]); }

  void dollar_tag(char c) {
    if (c == '$') {
      tag_ += c;
      matched_ = 0;
      state_ = State::kDollarBody;
    } else if (is_identifier_byte(c) && !(tag_.size() == 1 && c >= '0' && c <= '9') && tag_.size() < 256) {
      tag_ += c;
    } else {
      to_statement('$');
      statement(c);
    }
  }

  // Within a tag the only '$' are its first and last byte, so that a match that breaks begins again there or nowhere.
  void dollar_body(char c) {
    if (c != tag_[matched_]) matched_ = 0;
    if (c == tag_[matched_]) ++matched_;
    if (matched_ == tag_.size()) {
      keep('$');
      to_statement(' ');
    }
  }

  void meta(char c) {
    if (c != '\n') return keep(c);
    if (text_.starts_with("connect ") || text_.starts_with("c ")) ++connection_;
    text_.clear();
    to_statement('\n');
  }

  void end_of_statement() {
    const std::string statement = std::exchange(text_, {});
    if (statement.size() < kStatementBytesMax && begin_copy(statement)) return;
    const std::string small = lower(std::string_view(statement).substr(0, 64));
    if (small.starts_with("set standard_conforming_strings"))
      backslash_escapes_ = small.find("off") != std::string::npos;
  }

  // "COPY public.orders (id, day) FROM stdin", also with " WITH OIDS" before FROM.
  bool begin_copy(const std::string& statement) {
    if (lower(std::string_view(statement).substr(0, 5)) != "copy ") return false;
    if (statement.size() < 16 || lower(std::string_view(statement).substr(statement.size() - 11)) != " from stdin")
      return false;
    size_t end = 5;
    for (bool is_quoted = false; end < statement.size() && (is_quoted || statement[end] != ' '); ++end)
      if (statement[end] == '"') is_quoted = !is_quoted;
    table_name_ = statement.substr(5, end - 5);
    state_ = State::kCopyLine;
    return true;
  }

  void end_of_copy() {
    const auto [found, is_new] = tables_.try_emplace(table_name_, Table{0, connection_, false});
    if (found->second.connection != connection_) found->second.is_ambiguous = true;
    found->second.rows += copy_.rows();
    to_statement('\n');
  }

  State state_ = State::kStatement;
  std::string text_;  // Of the statement up to here.
  char previous_ = 0;
  int depth_ = 0;  // Of comments.
  bool has_escapes_ = false;
  bool is_escaped_ = false;
  bool backslash_escapes_ = false;  // standard_conforming_strings is off.
  std::string tag_;
  size_t matched_ = 0;  // Of the tag.
  CopyText copy_;
  std::string table_name_;
  size_t connection_ = 0;
  std::map<std::string, Table> tables_;
};

}  // namespace

std::unique_ptr<DumpRowCounter> count_directory_file_rows() { return std::make_unique<DirectoryFileRows>(); }
std::unique_ptr<DumpRowCounter> count_custom_rows() { return std::make_unique<CustomRows>(); }
std::unique_ptr<DumpRowCounter> count_plain_rows() { return std::make_unique<PlainRows>(); }

}  // namespace pgark::pg
