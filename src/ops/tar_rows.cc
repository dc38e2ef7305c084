#include "ops/tar_rows.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>

namespace pgark {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kTocBytesMax = size_t{1} << 30;

/// Size of a member as its header has it: octal digits, or binary where they do not suffice.
uint64_t size_of_member(std::string_view header) {
  const std::string_view field = header.substr(124, 12);
  uint64_t size = 0;
  if ((static_cast<unsigned char>(field[0]) & 0x80u) != 0) {
    for (size_t i = 4; i < field.size(); ++i) size = size << 8 | static_cast<unsigned char>(field[i]);
    return size;
  }
  for (const char c : field) {
    if (c == ' ' && size == 0) continue;
    if (c < '0' || c > '7') break;
    size = size * 8 + static_cast<uint64_t>(c - '0');
  }
  return size;
}

class TarRows final : public pg::DumpRowCounter {
 public:
  void add(Bytes data) override {
    while (!data.empty()) {
      if (left_ > 0) {
        const auto count = static_cast<size_t>(std::min<uint64_t>(left_, data.size()));
        content(data.first(count));
        left_ -= count;
        data = data.subspan(count);
        if (left_ == 0) end_member();
      } else if (padding_ > 0) {
        const size_t count = std::min(padding_, data.size());
        padding_ -= count;
        data = data.subspan(count);
      } else {
        const size_t count = std::min(kBlock - header_.size(), data.size());
        header_ += as_text(data.first(count));
        data = data.subspan(count);
        if (header_.size() == kBlock) begin_member();
      }
    }
  }

  std::vector<Count> counts() const override {
    std::vector<Count> all;
    if (!toc_) return all;
    for (const pg::DumpTocEntry& entry : toc_->entries) {
      const auto found = rows_.find(entry.file_name);
      if (entry.file_name.empty() || found == rows_.end()) continue;
      Count count;
      count.dump_id = entry.dump_id;
      count.rows = found->second;
      all.push_back(std::move(count));
    }
    return all;
  }
  const pg::DumpToc* toc() const override { return toc_ ? &*toc_ : nullptr; }

 private:
  void begin_member() {
    name_ = header_.substr(0, std::min<size_t>(header_.find('\0'), 100));
    left_ = name_.empty() ? 0 : size_of_member(header_);
    padding_ = static_cast<size_t>((kBlock - left_ % kBlock) % kBlock);
    header_.clear();
    if (name_.ends_with(".dat") && name_ != "toc.dat" && !name_.starts_with("blob"))
      member_ = pg::count_directory_file_rows();
    if (left_ == 0) end_member();
  }
  void content(Bytes data) {
    if (member_) member_->add(data);
    if (name_ == "toc.dat" && toc_bytes_.size() + data.size() <= kTocBytesMax) toc_bytes_.append(data);
  }
  void end_member() {
    if (member_)
      if (const auto counts = member_->counts(); !counts.empty()) rows_[name_] = counts.front().rows;
    member_.reset();
    if (name_ == "toc.dat")
      if (auto toc = pg::read_dump_toc(toc_bytes_); toc.has_value()) toc_ = std::move(*toc);
  }

  std::string header_;
  std::string name_;
  uint64_t left_ = 0;
  size_t padding_ = 0;
  std::unique_ptr<pg::DumpRowCounter> member_;
  std::map<std::string, uint64_t> rows_;
  Buffer toc_bytes_;
  std::optional<pg::DumpToc> toc_;
};

}  // namespace

std::unique_ptr<pg::DumpRowCounter> count_tar_rows() { return std::make_unique<TarRows>(); }

}  // namespace pgark
