// What AzureStore asks of the service and makes of its answers. The whole of it against a server: tests/e2e/azure_test.
#include "store/azure_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <atomic>
#include <set>

#include "store/azure_sign.h"
#include "store/cloud_util.h"
#include "store/store_test_util.h"
#include "testing/http_fake.h"

namespace pgark {
namespace {

using testing::HttpAnswer;
using testing::HttpFake;

constexpr std::string_view kKey =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
constexpr std::string_view kModified = "Sun, 22 Nov 2026 10:15:00 GMT";

HttpAnswer made() { return {.status = 201, .headers = {{"Last-Modified", std::string(kModified)}}}; }

/// A refusal as the service words it.
HttpAnswer refusal(int status, std::string_view code, std::string_view message = "As the code says.") {
  return {
      .status = status,
      .headers = {{"x-ms-error-code", std::string(code)}, {"x-ms-request-id", "4711"}},
      .body = fmt::format("\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{}</Code><Message>{}\n"
                          "RequestId:4711\nTime:2026-11-22T10:15:00Z</Message></Error>",
                          code, message)};
}

class FakeTokens final : public BearerTokenSource {
 public:
  explicit FakeTokens(int& made) : made_(made) {}
  Result<std::string> get() override { return fmt::format("token-{}", made_); }
  void invalidate() override { ++made_; }

 private:
  int& made_;
};

class AzureStoreTest : public ::testing::Test {
 protected:
  AzureSettings settings() {
    AzureSettings settings;
    settings.account = "acct";
    settings.container = "box";
    settings.endpoint = fake->url();
    settings.uri_style = AzureUriStyle::kPath;
    settings.key = kKey;
    settings.cloud.prefix = "some/place/";
    settings.cloud.chunk_bytes = 1000;
    settings.cloud.retry.attempts_max = 2;
    settings.cloud.retry.delay_first = std::chrono::milliseconds(1);
    return settings;
  }
  std::unique_ptr<AzureStore> open(AzureSettings with) { return std::move(AzureStore::open(std::move(with))).value(); }
  std::unique_ptr<AzureStore> open() { return open(settings()); }
  void answer(testing::HttpHandler handler) { fake->set_handler(std::move(handler)); }
  void answer(HttpAnswer always) {
    answer([always](const testing::HttpRequest&) { return always; });
  }

  std::unique_ptr<HttpFake> fake =
      std::move(HttpFake::start([](const auto&) { return HttpAnswer{.status = 500}; })).value();
  const ObjectKey key{"main/object"};
};

TEST_F(AzureStoreTest, CreatesOnlyWhatIsNotThere) {
  answer(made());
  AzureSettings with = settings();
  with.cloud.tags = {{"owner", "a b"}, {"kind", "x"}};
  const auto info = open(with)->put(key, as_bytes("hello world"));
  ASSERT_TRUE(info.has_value()) << info.error().to_string();
  EXPECT_EQ(info->bytes, 11u);
  EXPECT_EQ(format_http_date(info->modified), kModified);
  ASSERT_EQ(fake->request_count(), 1u);
  const auto request = fake->requests().front();
  EXPECT_EQ(request.method, "PUT");
  EXPECT_EQ(request.target, "/acct/box/some/place/main/object");
  EXPECT_EQ(request.body, "hello world");
  EXPECT_EQ(request.header("If-None-Match"), "*");
  EXPECT_EQ(request.header("x-ms-blob-type"), "BlockBlob");
  EXPECT_EQ(request.header("Content-MD5"), "XrY7u+Ae7tCTyyK7j1rNww==");
  EXPECT_EQ(request.header("x-ms-tags"), "owner=a%20b&kind=x");
  EXPECT_TRUE(request.header("Authorization").starts_with("SharedKey acct:"));
}

TEST_F(AzureStoreTest, SaysThatANameIsTaken) {
  for (const auto& [status, code] : {std::pair(409, "BlobAlreadyExists"), std::pair(412, "ConditionNotMet"),
                                     std::pair(403, "UnauthorizedBlobOverwrite")}) {
    answer([&, refused = refusal(status, code)](const testing::HttpRequest& request) -> HttpAnswer {
      return request.method == "HEAD" ? HttpAnswer{.headers = {{"Content-Length", "1"}}} : refused;
    });
    const auto put = open()->put(key, as_bytes("x"));
    ASSERT_FALSE(put.has_value());
    EXPECT_EQ(put.error().code(), Errc::kAlreadyExists) << code;
  }
}

TEST_F(AzureStoreTest, WaitsAsLongAsTheServiceAsks) {
  NoWaitClock clock;
  answer({.status = 503, .headers = {{"x-ms-error-code", "ServerBusy"}, {"Retry-After", "3"}}});
  AzureSettings with = settings();
  with.cloud.clock = &clock;
  const auto found = open(with)->stat(key);
  ASSERT_FALSE(found.has_value());
  EXPECT_EQ(found.error().code(), Errc::kTransient);
  EXPECT_THAT(clock.waits(), ::testing::ElementsAre(std::chrono::seconds(3)));
}

TEST_F(AzureStoreTest, IsNotKeptFromANameByBlocksThatNobodyCommitted) {
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    if (request.method == "HEAD") return refusal(404, "BlobNotFound");
    return request.parameter("comp") ? made() : refusal(409, "BlobAlreadyExists");
  });
  const auto store = open();
  const auto info = store->put(key, as_bytes("hello"));
  ASSERT_TRUE(info.has_value()) << info.error().to_string();
  EXPECT_EQ(info->bytes, 5u);
  EXPECT_EQ(fake->requests().back().parameter("comp"), "blocklist");
  EXPECT_EQ(fake->requests().back().header("If-None-Match"), "*");
  EXPECT_EQ(store->put(key, {}).value().bytes, 0u);
}

TEST_F(AzureStoreTest, DoesNotTakeAnotherConflictForATakenName) {
  for (const char* code : {"ContainerBeingDeleted", "SomethingNew"}) {
    answer(refusal(409, code));
    const auto put = open()->put(key, as_bytes("x"));
    ASSERT_FALSE(put.has_value());
    EXPECT_NE(put.error().code(), Errc::kAlreadyExists) << code;
  }
}

TEST_F(AzureStoreTest, BelievesAbsenceOnlyOfABlobTheServiceDoesNotFind) {
  const auto store = open();
  Buffer into(10);
  answer(refusal(404, "BlobNotFound"));
  EXPECT_FALSE(store->stat(key).value().has_value());
  EXPECT_EQ(store->read(key, 0, into.bytes()).error().code(), Errc::kNotFound);
  EXPECT_FALSE(store->remove(key).value());
  for (const HttpAnswer& other : {refusal(404, "ContainerNotFound"), refusal(404, "ResourceNotFound"),
                                  HttpAnswer{.status = 404, .body = "<html>the proxy knows no such host</html>"}}) {
    answer(other);
    for (const Error& error : {store->stat(key).error(), store->read(key, 0, into.bytes()).error(),
                               store->remove(key).error(), store->list({}).error()})
      EXPECT_EQ(error.code(), Errc::kInvalid) << error.to_string();
  }
  answer(refusal(404, "ContainerNotFound"));
  EXPECT_NE(store->stat(key).error().to_string().find("HINT: create the bucket or container"), std::string::npos);
}

TEST_F(AzureStoreTest, SendsLargeObjectsInBlocks) {
  answer(made());
  std::string content(2500, 'a');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 23);
  const auto info = open()->put(key, as_bytes(content));
  ASSERT_TRUE(info.has_value()) << info.error().to_string();
  EXPECT_EQ(info->bytes, content.size());
  std::map<std::string, std::string> blocks;
  std::string joined;
  const auto requests = fake->requests();
  ASSERT_EQ(requests.size(), 4u);
  for (const auto& request : requests) {
    if (request.parameter("comp") == "block") {
      EXPECT_TRUE(request.has_header("Content-MD5"));
      EXPECT_FALSE(request.has_header("If-None-Match"));
      blocks[request.parameter("blockid").value()] = request.body;
    }
  }
  ASSERT_EQ(blocks.size(), 3u);
  const auto& list = requests.back();
  EXPECT_EQ(list.parameter("comp"), "blocklist");
  EXPECT_EQ(list.header("If-None-Match"), "*");
  constexpr std::string_view kOpen = "<Uncommitted>";
  for (size_t at = list.body.find(kOpen); at != std::string::npos; at = list.body.find(kOpen, at + 1)) {
    const size_t begin = at + kOpen.size();
    joined += blocks.at(list.body.substr(begin, list.body.find('<', begin) - begin));
  }
  EXPECT_TRUE(joined == content);
}

TEST_F(AzureStoreTest, GivesBlocksOfTwoWritersDifferentNames) {
  answer(made());
  const auto store = open();
  std::set<std::string> ids;
  std::set<size_t> lengths;
  for (int writer = 0; writer < 2; ++writer) ASSERT_TRUE(store->put(key, as_bytes(std::string(2500, 'x'))).has_value());
  for (const auto& request : fake->requests())
    if (const auto id = request.parameter("blockid")) {
      ids.insert(*id);
      lengths.insert(id->size());
    }
  EXPECT_EQ(ids.size(), 6u);
  EXPECT_EQ(lengths.size(), 1u) << "the service wants all block ids of a blob to have one length";
}

/// A block list that was carried out though its answer is lost; HEAD then shows `mark`, or the writer's own.
testing::HttpHandler lost_answer(std::string mark) {
  return [mark, own = std::string()](const testing::HttpRequest& request) mutable -> HttpAnswer {
    if (request.method == "HEAD")
      return {.headers = {{"Last-Modified", std::string(kModified)},
                          {"Content-Length", "2500"},
                          {"x-ms-meta-pgarkwriter", mark.empty() ? own : mark}}};
    if (request.parameter("comp") != "blocklist") return made();
    own = request.header("x-ms-meta-pgarkwriter");
    return {.no_answer = true};
  };
}

TEST_F(AzureStoreTest, FindsItsOwnObjectAfterALostAnswer) {
  answer(lost_answer(""));
  const auto info = open()->put(key, as_bytes(std::string(2500, 'x')));
  ASSERT_TRUE(info.has_value()) << info.error().to_string();
  EXPECT_EQ(info->bytes, 2500u);
}

TEST_F(AzureStoreTest, KnowsAnothersObjectAfterALostAnswer) {
  answer(lost_answer("somebody else"));
  EXPECT_EQ(open()->put(key, as_bytes(std::string(2500, 'x'))).error().code(), Errc::kAlreadyExists);
}

TEST_F(AzureStoreTest, LooksWhoseObjectTookItsBlocks) {
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    if (request.method == "HEAD") return refusal(404, "BlobNotFound");
    if (request.parameter("comp") == "blocklist") return refusal(400, "InvalidBlockList");
    return made();
  });
  const auto put = open()->put(key, as_bytes(std::string(2500, 'x')));
  ASSERT_FALSE(put.has_value());
  EXPECT_EQ(put.error().code(), Errc::kOutcomeUnknown) << put.error().to_string();
}

TEST_F(AzureStoreTest, SendsAPartAgainThatArrivedDamaged) {
  answer([failed = false](const testing::HttpRequest& request) mutable -> HttpAnswer {
    if (request.parameter("comp") != "block" || failed) return made();
    failed = true;
    return refusal(400, "Md5Mismatch");
  });
  EXPECT_TRUE(open()->put(key, as_bytes(std::string(2500, 'x'))).has_value());
  EXPECT_EQ(fake->request_count(), 5u);
}

TEST_F(AzureStoreTest, SaysWhatMayPass) {
  const auto store = open();
  for (const HttpAnswer& busy : {refusal(503, "ServerBusy"), refusal(500, "OperationTimedOut"),
                                 HttpAnswer{.status = 429}, HttpAnswer{.status = 502, .body = "<html>bad gateway"}}) {
    answer(busy);
    EXPECT_EQ(store->stat(key).error().code(), Errc::kTransient);
  }
  answer(refusal(503, "ServerBusy"));
  EXPECT_EQ(store->remove(key).error().code(), Errc::kTransient);
  answer(refusal(500, "InternalError"));
  EXPECT_EQ(store->remove(key).error().code(), Errc::kOutcomeUnknown);
  EXPECT_EQ(store->put(key, as_bytes("x")).error().code(), Errc::kOutcomeUnknown);
  answer(refusal(503, "ServerBusy"));
  EXPECT_EQ(store->put(key, as_bytes("x")).error().code(), Errc::kTransient);
}

TEST_F(AzureStoreTest, SignsWithTheTimeOfTheServiceWhenTheClockIsWrong) {
  const auto theirs = [] { return system_clock().now() - std::chrono::minutes(31); };
  answer([&](const testing::HttpRequest& request) -> HttpAnswer {
    HttpAnswer refused = refusal(403, "AuthenticationFailed", "Server failed to authenticate the request.");
    refused.headers.emplace_back("Date", format_http_date(theirs()));
    const auto signed_at = parse_http_date(request.header("x-ms-date"));
    return signed_at && *signed_at < theirs() + std::chrono::minutes(1) ? HttpAnswer{.status = 202} : refused;
  });
  const auto store = open();
  EXPECT_TRUE(store->remove(key).value());
  EXPECT_TRUE(store->remove(key).value());
  EXPECT_EQ(fake->request_count(), 3u) << "the clock is corrected once";
}

TEST_F(AzureStoreTest, NamesWhatWasRefusedAndNoSecret) {
  answer(refusal(403, "AuthenticationFailed", "Server failed to authenticate the request."));
  const Error error = open()->remove(key).error();
  EXPECT_EQ(error.code(), Errc::kPermission);
  const std::string text = error.to_string();
  EXPECT_EQ(text.find(kKey.substr(0, 20)), std::string::npos);
  EXPECT_NE(text.find("HTTP 403 AuthenticationFailed: Server failed to authenticate the request (request id 4711)"),
            std::string::npos)
      << text;
  EXPECT_EQ(fake->request_count(), 1u);
}

TEST_F(AzureStoreTest, ExplainsWhyAnObjectCannotBeDeletedYet) {
  answer(refusal(409, "BlobImmutableDueToPolicy"));
  const auto removed = open()->remove(key);
  ASSERT_FALSE(removed.has_value());
  EXPECT_EQ(removed.error().code(), Errc::kPermission);
  EXPECT_NE(removed.error().to_string().find("cannot be deleted yet"), std::string::npos);
}

TEST_F(AzureStoreTest, DoesNotSayThatWhatItRemovedWasNotThere) {
  std::atomic<int> removals = 0;
  answer([&](const testing::HttpRequest& request) -> HttpAnswer {
    if (request.method != "DELETE") return made();
    return ++removals == 1 ? HttpAnswer{.no_answer = true} : refusal(404, "BlobNotFound");
  });
  const auto store = open();
  ASSERT_TRUE(store->put(key, as_bytes("x")).has_value());  // So that there is a connection, which is used again.
  EXPECT_EQ(store->remove(key).error().code(), Errc::kOutcomeUnknown);
  EXPECT_EQ(removals.load(), 1);
}

TEST_F(AzureStoreTest, RemovesManyAndTellsOfEach) {
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    if (request.path.ends_with("/absent")) return refusal(404, "BlobNotFound");
    if (request.path.ends_with("/locked")) return refusal(409, "BlobImmutableDueToPolicy");
    return {.status = 202};
  });
  std::vector<ObjectKey> keys;
  for (int i = 0; i < 100; ++i) keys.push_back({fmt::format("main/{}", i)});
  keys[10].value = "main/absent";
  keys[20].value = "main/locked";
  keys[30].value = "main//illegal";
  const auto results = open()->remove_many(keys);
  ASSERT_EQ(results.size(), keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i == 10 || i == 20 || i == 30) continue;
    EXPECT_TRUE(results[i].has_value() && *results[i]) << i;
  }
  EXPECT_FALSE(results[10].value());
  EXPECT_EQ(results[20].error().code(), Errc::kPermission);
  EXPECT_NE(results[20].error().message().find("main/locked"), std::string::npos);
  EXPECT_EQ(results[30].error().code(), Errc::kInvalid);
  EXPECT_EQ(fake->request_count(), 99u);
}

TEST_F(AzureStoreTest, SendsASignatureOfSharedAccessAndNeverShowsIt) {
  AzureSettings with = settings();
  with.key_type = AzureKeyType::kSas;
  with.key = "?sv=2021-12-02&sp=rcwdl&sig=very%2Fsecret%3D";
  const auto store = open(with);
  answer(refusal(403, "AuthorizationPermissionMismatch"));
  const Error error = store->list({.prefix = "main/"}).error();
  EXPECT_EQ(error.code(), Errc::kPermission);
  EXPECT_EQ(error.to_string().find("secret"), std::string::npos) << error.to_string();
  const auto request = fake->requests().back();
  EXPECT_EQ(request.parameter("sig"), "very/secret=");
  EXPECT_EQ(request.parameter("comp"), "list");
  EXPECT_EQ(request.parameter("prefix"), "some/place/main/");
  EXPECT_FALSE(request.has_header("Authorization"));
}

TEST_F(AzureStoreTest, KnowsThatASignatureHasEnded) {
  AzureSettings with = settings();
  with.key_type = AzureKeyType::kSas;
  with.key = "sv=2021-12-02&se=2020-01-01T00%3A00%3A00Z&sig=x";
  answer(refusal(403, "AuthorizationFailure"));
  EXPECT_NE(open(with)->remove(key).error().to_string().find("ended at Wed, 01 Jan 2020 00:00:00 GMT"),
            std::string::npos);
}

TEST_F(AzureStoreTest, TellsATakenNameFromAMissingPermission) {
  AzureSettings with = settings();
  with.key_type = AzureKeyType::kSas;
  with.key = "sp=rcl&sig=x";
  const auto store = open(with);
  bool there = true;
  answer([&](const testing::HttpRequest& request) -> HttpAnswer {
    if (request.method != "HEAD") return refusal(403, "AuthorizationPermissionMismatch");
    return there ? HttpAnswer{.headers = {{"Content-Length", "1"}}} : refusal(404, "BlobNotFound");
  });
  EXPECT_EQ(store->put(key, as_bytes("x")).error().code(), Errc::kAlreadyExists);
  there = false;
  EXPECT_EQ(store->put(key, as_bytes("x")).error().code(), Errc::kPermission);
}

TEST_F(AzureStoreTest, AsksForANewTokenOnce) {
  AzureSettings with = settings();
  with.key_type = AzureKeyType::kManagedIdentity;
  with.key.clear();
  int tokens = 1;
  const auto store = std::move(AzureStore::open(with, std::make_unique<FakeTokens>(tokens))).value();
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    return request.header("Authorization") == "Bearer token-2" ? made() : refusal(401, "InvalidAuthenticationInfo");
  });
  EXPECT_TRUE(store->put(key, as_bytes("x")).has_value());
  EXPECT_EQ(fake->request_count(), 2u);
  answer(refusal(401, "InvalidAuthenticationInfo"));
  EXPECT_EQ(store->stat(key).error().code(), Errc::kPermission);
  EXPECT_EQ(fake->request_count(), 4u);
}

TEST_F(AzureStoreTest, GoesOnReadingWhereATransferBrokeOff) {
  std::string content(1'000'000, 'x');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 31 + i / 256);
  std::vector<std::string> asked;
  size_t cut = 300'000;
  answer([&](const testing::HttpRequest& request) -> HttpAnswer {
    asked.push_back(request.header("x-ms-range"));
    const size_t first = std::stoul(asked.back().substr(6));
    HttpAnswer part{.status = 206, .body = content.substr(first)};
    part.headers = {{"Content-Range", fmt::format("bytes {}-{}/{}", first, content.size() - 1, content.size())}};
    if (asked.size() < 3) part.cut_after = cut;
    return part;
  });
  const auto store = open();
  Buffer into(2'000'000);
  const auto count = store->read(key, 1000, into.bytes());
  ASSERT_TRUE(count.has_value()) << count.error().to_string();
  EXPECT_EQ(*count, content.size() - 1000);
  EXPECT_TRUE(as_text(into.bytes().first(*count)) == std::string_view(content).substr(1000));
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_EQ(asked[0], "bytes=1000-2000999");
  EXPECT_NE(asked[1], asked[0]);
  // What brings next to nothing is left to the retries above.
  asked.clear();
  cut = 100;
  EXPECT_EQ(store->read(key, 0, into.bytes()).error().code(), Errc::kTransient);
  EXPECT_EQ(asked.size(), 1u);
}

TEST_F(AzureStoreTest, ReadsNothingPastTheEnd) {
  answer(refusal(416, "InvalidRange"));
  Buffer into(10);
  EXPECT_EQ(open()->read(key, 100, into.bytes()).value(), 0u);
  EXPECT_EQ(fake->requests().back().header("x-ms-range"), "bytes=100-109");
}

TEST_F(AzureStoreTest, RefusesSettingsThatCannotWork) {
  const auto refused = [&](auto change, std::string_view option) {
    AzureSettings with = settings();
    change(with);
    const auto store = AzureStore::open(with);
    ASSERT_FALSE(store.has_value()) << option;
    EXPECT_EQ(store.error().code(), Errc::kInvalid);
    EXPECT_NE(store.error().to_string().find(option), std::string::npos) << store.error().to_string();
    EXPECT_EQ(store.error().to_string().find(kKey.substr(0, 20)), std::string::npos);
  };
  refused([](AzureSettings& s) { s.account = "a/b"; }, "repo1-azure-account");
  refused([](AzureSettings& s) { s.container = "Box"; }, "repo1-azure-container");
  refused([](AzureSettings& s) { s.container = "ab"; }, "repo1-azure-container");
  refused([](AzureSettings& s) { s.endpoint = "ftp://host"; }, "repo1-azure-endpoint");
  refused([](AzureSettings& s) { s.key.clear(); }, "repo1-azure-key");
  refused([](AzureSettings& s) { s.key += "?"; }, "repo1-azure-key");
  refused([](AzureSettings& s) { s.cloud.prefix = "a/../b/"; }, "..");
}

}  // namespace
}  // namespace pgark
