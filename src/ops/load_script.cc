// The few lines that newer programs write and older ones refuse.
#include "ops/load_script.h"

#include <algorithm>
#include <array>

namespace pgark {
namespace {

constexpr size_t kHeadMax = 64u << 10;
constexpr size_t kTail = 512;  // The line of \unrestrict with its key, and the newlines behind it.
constexpr std::string_view kRestrict = "\\restrict ";
constexpr std::string_view kUnrestrict = "\\unrestrict ";

bool is_head_line(std::string_view line) {
  return line.empty() || line.starts_with("--") || line.starts_with("SET ") || line.starts_with(kRestrict) ||
         line.starts_with("SELECT pg_catalog.set_config(");
}

/// First minor release of a major that knows \restrict.
unsigned first_with_restrict(unsigned major) {
  switch (major) {
    case 13:
      return 22;
    case 14:
      return 19;
    case 15:
      return 14;
    case 16:
      return 10;
    case 17:
      return 6;
    default:
      return major < 13 ? 1000 : 0;
  }
}

}  // namespace

ScriptNeeds script_needs(uint32_t server_version_num, const PgClientSet& client) {
  return {.drop_transaction_timeout = server_version_num < 170000,
          .drop_restrict = client.minor < first_with_restrict(client.major)};
}

Result<> ScriptFilter::add(Bytes data) {
  if (in_head_) {
    held_ += as_text(data);
    return held_.size() < kHeadMax ? Result<>() : pass_head();
  }
  if (key_.empty()) return sink_(data);
  held_ += as_text(data);
  if (held_.size() <= kTail) return {};
  TRY(sink_(as_bytes(std::string_view(held_).substr(0, held_.size() - kTail))));
  held_.erase(0, held_.size() - kTail);
  return {};
}

Result<> ScriptFilter::pass_head() {
  std::string head;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    if (end == rest.npos) break;
    const std::string_view line = rest.substr(0, end);
    if (!is_head_line(line)) break;
    rest.remove_prefix(end + 1);
    if (needs_.drop_transaction_timeout && line == "SET transaction_timeout = 0;") continue;
    if (needs_.drop_restrict && line.starts_with(kRestrict)) {
      key_ = line.substr(kRestrict.size());
      continue;
    }
    head.append(line).append("\n");
  }
  in_head_ = false;
  const std::string behind(rest);
  held_.clear();
  TRY(sink_(as_bytes(head)));
  return add(as_bytes(behind));
}

Result<> ScriptFilter::finish() {
  if (in_head_) TRY(pass_head());
  if (key_.empty()) return {};
  const std::string line = std::string(kUnrestrict) + key_ + "\n";
  if (const size_t at = held_.rfind(line); at != held_.npos && (at == 0 || held_[at - 1] == '\n'))
    held_.erase(at, line.size());
  return sink_(as_bytes(held_));
}

std::string drops_of_script(std::string_view script) {
  static constexpr std::array<std::string_view, 2> kFirstMade = {"\n--\n-- Name: ", "\n--\n-- TOC entry "};
  size_t end = script.size();
  for (const std::string_view mark : kFirstMade) end = std::min(end, script.find(mark));
  std::string drops(script.substr(0, end));
  drops += '\n';
  // Its counterpart stands at the end that was cut off.
  const size_t restricted = drops.find("\n" + std::string(kRestrict));
  if (restricted != drops.npos) {
    const size_t key = restricted + 1 + kRestrict.size();
    drops += std::string(kUnrestrict) + drops.substr(key, drops.find('\n', key) - key) + "\n";
  }
  return drops;
}

}  // namespace pgark
