#include "store/tree_listing.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

namespace pgark {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// Directories in memory that note what was asked of them.
class MapTree final : public DirectoryTree {
 public:
  explicit MapTree(const std::vector<std::string>& keys) {
    for (const std::string& key : keys) {
      size_t begin = 0;
      for (size_t slash = key.find('/'); slash != std::string::npos; slash = key.find('/', begin)) {
        content_[key.substr(0, begin == 0 ? 0 : begin - 1)][key.substr(begin, slash - begin)] = true;
        begin = slash + 1;
      }
      content_[key.substr(0, begin == 0 ? 0 : begin - 1)][key.substr(begin)] = false;
    }
  }

  Result<std::vector<Entry>> read(const std::string& directory) override {
    read_.push_back(directory);
    std::vector<Entry> entries;
    for (const auto& [name, is_directory] : content_[directory]) {
      Entry entry{name, is_directory};
      if (!is_directory && tells_attributes_) entry.attributes = Attributes{name.size(), {}};
      entries.push_back(std::move(entry));
    }
    std::ranges::reverse(entries);
    return entries;
  }
  Result<std::optional<Attributes>> look(const std::string& key) override {
    looked_at_.push_back(key);
    if (gone_.contains(key)) return std::optional<Attributes>();
    return std::optional(Attributes{key.size(), {}});
  }

  std::map<std::string, std::map<std::string, bool>> content_;
  bool tells_attributes_ = true;
  std::set<std::string> gone_;
  std::vector<std::string> read_;
  std::vector<std::string> looked_at_;
};

std::vector<std::string> keys(const ListPage& page) {
  std::vector<std::string> keys;
  for (const ObjectInfo& object : page.objects) keys.push_back(object.key.value);
  return keys;
}

TEST(TreeListing, IsInTheOrderOfWholeKeys) {
  MapTree tree({"a/c", "a-b", "a.d/x", "b", "a/b/c", "a0"});
  EXPECT_THAT(keys(list_tree(tree, {}).value()), ElementsAre("a-b", "a.d/x", "a/b/c", "a/c", "a0", "b"));
}

TEST(TreeListing, GoesOnBehindEachPage) {
  MapTree tree({"a/c", "a-b", "a.d/x", "b", "a/b/c", "a0"});
  std::vector<std::string> all;
  ListRequest request{.limit = 1};
  for (bool more = true; more;) {
    const auto page = list_tree(tree, request);
    ASSERT_TRUE(page.has_value());
    ASSERT_EQ(page->objects.size(), 1u);
    all.push_back(page->objects[0].key.value);
    request.after = all.back();
    more = page->more;
  }
  EXPECT_THAT(all, ElementsAre("a-b", "a.d/x", "a/b/c", "a/c", "a0", "b"));
}

TEST(TreeListing, ReadsOnlyDirectoriesThatCanHoldTheKeys) {
  MapTree tree({"main/pack/1/x", "main/pack/2/x", "main/pack/2/y", "main/wal/1", "other/pack/2"});
  EXPECT_THAT(keys(list_tree(tree, {.prefix = "main/pack/2"}).value()), ElementsAre("main/pack/2/x", "main/pack/2/y"));
  EXPECT_THAT(tree.read_, ElementsAre("main/pack", "main/pack/2"));
  tree.read_.clear();
  EXPECT_THAT(keys(list_tree(tree, {.prefix = "main/", .after = "main/pack/2/x"}).value()),
              ElementsAre("main/pack/2/y", "main/wal/1"));
  EXPECT_THAT(tree.read_, ElementsAre("main", "main/pack", "main/pack/2", "main/wal"));
  tree.read_.clear();
  for (const char* nowhere : {"/", "../", "a//b"})
    EXPECT_THAT(keys(list_tree(tree, {.prefix = nowhere}).value()), IsEmpty());
  EXPECT_THAT(tree.read_, IsEmpty());
}

TEST(TreeListing, LooksOnlyAtObjectsOfThePageAndLeavesOutWhatIsGone) {
  MapTree tree({"a", "b", "c", "d", "e"});
  tree.tells_attributes_ = false;
  tree.gone_ = {"b"};
  const auto page = list_tree(tree, {.limit = 2});
  ASSERT_TRUE(page.has_value());
  EXPECT_THAT(keys(*page), ElementsAre("a", "c"));
  EXPECT_TRUE(page->more);
  EXPECT_THAT(tree.looked_at_, ElementsAre("a", "b", "c", "d")) << "d tells that there is more";
  EXPECT_EQ(page->objects[0].bytes, 1u);
}

}  // namespace
}  // namespace pgark
