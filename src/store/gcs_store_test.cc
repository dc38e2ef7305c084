// What GcsStore asks of the service and makes of its answers. The whole of it against a server: tests/e2e/gcs_test.
#include "store/gcs_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "codec/encoding.h"
#include "core/crc32c.h"
#include "store/gcs_client.h"
#include "store/gcs_upload.h"
#include "store/store_test_util.h"
#include "testing/http_fake.h"

namespace pgark {
namespace {

using testing::HttpAnswer;
using testing::HttpFake;
using Json = nlohmann::json;

constexpr uint64_t kGrain = 256u << 10;
constexpr std::string_view kObjects = "/storage/v1/b/box/o";
constexpr std::string_view kUploads = "/upload/storage/v1/b/box/o";

/// A refusal as the service words it.
HttpAnswer refusal(int status, std::string_view reason, std::string_view message) {
  return {.status = status,
          .headers = {{"Content-Type", "application/json"}},
          .body = Json{{"error",
                        {{"code", status},
                         {"message", message},
                         {"errors", {{{"message", message}, {"domain", "global"}, {"reason", reason}}}}}}}
                      .dump()};
}

HttpAnswer no_object() { return refusal(404, "notFound", "No such object: box/some/place/main/object"); }

Json resource(std::string_view name, std::string_view content, const Json& metadata = Json::object()) {
  return {{"name", name},
          {"size", std::to_string(content.size())},
          {"timeCreated", "2026-11-22T10:15:00.123Z"},
          {"crc32c", gcs_crc32c(crc32c(as_bytes(content)))},
          {"generation", "1"},
          {"metadata", metadata}};
}

/// Head and content of a multipart/related body.
std::pair<Json, std::string> split_multipart(const testing::HttpRequest& request) {
  const std::string boundary = "--" + request.header("Content-Type").substr(sizeof "multipart/related; boundary=" - 1);
  std::vector<std::string> parts;
  for (size_t at = request.body.find(boundary); at != std::string::npos;) {
    const size_t next = request.body.find("\r\n" + boundary, at + 1);
    if (next == std::string::npos) break;
    const std::string part = request.body.substr(at, next - at);
    parts.push_back(part.substr(part.find("\r\n\r\n") + 4));
    at = next + 2;
  }
  if (parts.size() != 2) return {};
  return {Json::parse(parts[0], nullptr, false), parts[1]};
}

class FakeTokens final : public BearerTokenSource {
 public:
  explicit FakeTokens(int& made) : made_(made) {}
  Result<std::string> get() override { return fmt::format("token-{}", made_); }
  void invalidate() override { ++made_; }

 private:
  int& made_;
};

class GcsStoreTest : public ::testing::Test {
 protected:
  GcsSettings settings() {
    GcsSettings settings;
    settings.bucket = "box";
    settings.endpoint = fake->url();
    settings.cloud.prefix = "some/place/";
    settings.cloud.chunk_bytes = 2 * kGrain;
    settings.cloud.retry.attempts_max = 3;
    settings.cloud.clock = &clock;
    return settings;
  }
  std::unique_ptr<GcsStore> open(GcsSettings with) {
    return std::move(GcsStore::open(std::move(with), std::make_unique<FakeTokens>(tokens))).value();
  }
  std::unique_ptr<GcsStore> open() { return open(settings()); }
  void answer(testing::HttpHandler handler) { fake->set_handler(std::move(handler)); }
  void answer(HttpAnswer always) {
    answer([always](const testing::HttpRequest&) { return always; });
  }

  NoWaitClock clock;
  std::unique_ptr<HttpFake> fake =
      std::move(HttpFake::start([](const auto&) { return HttpAnswer{.status = 500}; })).value();
  int tokens = 1;
  const ObjectKey key{"main/object"};
};

TEST_F(GcsStoreTest, WaitsAsLongAsTheServiceAsks) {
  HttpAnswer busy = refusal(429, "rateLimitExceeded", "Slow down");
  busy.headers.push_back({"Retry-After", "3"});
  answer(busy);
  const auto found = open()->stat(key);
  ASSERT_FALSE(found.has_value());
  EXPECT_EQ(found.error().code(), Errc::kTransient);
  EXPECT_THAT(clock.waits(), ::testing::ElementsAre(std::chrono::seconds(3)));
}

TEST_F(GcsStoreTest, CreatesOnlyWhatIsNotThere) {
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    const auto [head, content] = split_multipart(request);
    return {.body = resource("some/place/main/object", content).dump()};
  });
  GcsSettings with = settings();
  with.cloud.tags = {{"owner", "a \"b\""}};
  with.user_project = "payer";
  const std::string content = "hello\r\n--world";
  const auto info = open(with)->put(key, as_bytes(content));
  ASSERT_TRUE(info.has_value()) << info.error().to_string();
  EXPECT_EQ(info->bytes, content.size());
  ASSERT_EQ(fake->request_count(), 1u);
  const auto request = fake->requests().front();
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, kUploads);
  EXPECT_EQ(request.parameter("uploadType"), "multipart");
  EXPECT_EQ(request.parameter("ifGenerationMatch"), "0");
  EXPECT_EQ(request.parameter("userProject"), "payer");
  EXPECT_EQ(request.header("Authorization"), "Bearer token-1");
  const auto [head, sent] = split_multipart(request);
  EXPECT_EQ(sent, content);
  EXPECT_EQ(head["name"], "some/place/main/object");
  EXPECT_EQ(head["metadata"]["owner"], "a \"b\"");
  EXPECT_EQ(head["metadata"]["pgark-writer"].get<std::string>().size(), 32u);
  EXPECT_EQ(head["crc32c"], gcs_crc32c(crc32c(as_bytes(content))));
}

TEST_F(GcsStoreTest, WritesChecksumsAsTheServiceDoes) {
  // The check value of the polynomial, 0xe3069283, with its highest byte first.
  EXPECT_EQ(gcs_crc32c(crc32c(as_bytes("123456789"))), "4waSgw==");
}

TEST_F(GcsStoreTest, SaysThatANameIsTaken) {
  const auto store = open();
  for (const HttpAnswer& taken :
       {refusal(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."),
        refusal(403, "forbidden",
                "w@p.iam does not have storage.objects.delete access to the Google Cloud Storage object.")}) {
    answer(taken);
    EXPECT_EQ(store->put(key, as_bytes("x")).error().code(), Errc::kAlreadyExists);
    EXPECT_EQ(store->put(key, as_bytes(std::string(3 * kGrain, 'x'))).error().code(), Errc::kAlreadyExists);
  }
  answer(refusal(403, "forbidden",
                 "w@p.iam does not have storage.objects.create access to the Google Cloud Storage object."));
  EXPECT_EQ(store->put(key, as_bytes("x")).error().code(), Errc::kPermission);
}

TEST_F(GcsStoreTest, BelievesAbsenceOnlyOfAnObjectTheServiceDoesNotFind) {
  const auto store = open();
  Buffer into(10);
  for (const HttpAnswer& absent : {no_object(), HttpAnswer{.status = 404, .body = "No such object: box/x"}}) {
    answer(absent);
    EXPECT_FALSE(store->stat(key).value().has_value());
    EXPECT_EQ(store->read(key, 0, into.bytes()).error().code(), Errc::kNotFound);
    EXPECT_FALSE(store->remove(key).value());
  }
  for (const HttpAnswer& other : {refusal(404, "notFound", "The specified bucket does not exist."),
                                  HttpAnswer{.status = 404, .body = "<html>the proxy knows no such host</html>"}}) {
    answer(other);
    for (const Error& error : {store->stat(key).error(), store->read(key, 0, into.bytes()).error(),
                               store->remove(key).error(), store->list({}).error()})
      EXPECT_EQ(error.code(), Errc::kInvalid) << error.to_string();
  }
  answer(refusal(404, "notFound", "The specified bucket does not exist."));
  EXPECT_NE(store->list({}).error().to_string().find("HINT: create the bucket"), std::string::npos);
}

/// A resumable upload as the service keeps it, which takes as much of each request as it likes, and breaks off.
class Session {
 public:
  Session(HttpFake& fake, uint64_t seed) : fake_(fake), rng_(seed) {}

  std::string content;
  bool complete = false;
  unsigned faults = 0;
  uint64_t fault_every = 3;  // On average; 0: never.
  bool keeps_all = false;
  std::string final_hash;
  Json metadata;

  HttpAnswer operator()(const testing::HttpRequest& request) {
    if (request.method == "POST") {
      metadata = Json::parse(request.body, nullptr, false)["metadata"];
      return {.headers = {{"Location", fake_.url(std::string(kUploads) + "?upload_id=secret")}}};
    }
    if (request.method == "DELETE") return {.status = 499};
    if (request.method == "GET")
      return complete ? HttpAnswer{.body = resource("some/place/main/object", content, metadata).dump()} : no_object();
    const bool fault = fault_every > 0 && rng_.below(fault_every) == 0;
    faults += fault ? 1 : 0;
    if (fault && rng_.below(3) == 0) return refusal(503, "backendError", "Backend Error");
    take(request);
    if (fault) return rng_.below(2) == 0 ? HttpAnswer{.no_answer = true} : refusal(500, "internalError", "oops");
    if (complete) return {.body = resource("some/place/main/object", content, metadata).dump()};
    HttpAnswer more{.status = 308};
    if (!content.empty()) more.headers.emplace_back("Range", fmt::format("bytes=0-{}", content.size() - 1));
    return more;
  }

 private:
  void take(const testing::HttpRequest& request) {
    const std::string range = request.header("Content-Range");
    EXPECT_TRUE(range.starts_with("bytes ")) << range;
    const std::string total = range.substr(range.find('/') + 1);
    if (range[6] != '*') {
      const uint64_t first = std::stoull(range.substr(6));
      const uint64_t last = std::stoull(range.substr(range.find('-') + 1));
      EXPECT_LE(first, content.size()) << "nothing may be left out";
      EXPECT_EQ(last - first + 1, request.body.size());
      const bool final = total != "*";
      EXPECT_TRUE(final || request.body.size() % kGrain == 0);
      // What it has already it does not take again.
      const std::string fresh = request.body.substr(std::min<size_t>(content.size() - first, request.body.size()));
      uint64_t taken = fresh.size();
      if (!keeps_all && rng_.below(3) == 0) taken = rng_.below(taken / kGrain + 1) * kGrain;
      content += fresh.substr(0, taken);
    }
    if (total != "*" && std::to_string(content.size()) == total) {
      complete = true;
      final_hash = request.header("X-Goog-Hash");
    }
  }

  HttpFake& fake_;
  Rng rng_;
};

std::string pattern(size_t bytes, uint64_t seed) {
  std::string text(bytes, '\0');
  Rng rng(seed);
  for (char& c : text) c = static_cast<char>(rng.next());
  return text;
}

TEST_F(GcsStoreTest, SendsLargeObjectsThroughOneSession) {
  Session session(*fake, 1);
  session.fault_every = 0;
  session.keeps_all = true;
  answer([&](const testing::HttpRequest& request) { return session(request); });
  const std::string content = pattern(5 * kGrain + 77, 1);
  const auto info = open()->put(key, as_bytes(content));
  ASSERT_TRUE(info.has_value()) << info.error().to_string();
  EXPECT_TRUE(session.content == content);
  EXPECT_EQ(session.final_hash, "crc32c=" + gcs_crc32c(crc32c(as_bytes(content))));
  // The session, three parts of which the last has a piece that is no whole grain.
  EXPECT_EQ(fake->request_count(), 5u);
  EXPECT_EQ(fake->requests().front().parameter("ifGenerationMatch"), "0");
}

TEST_F(GcsStoreTest, GoesOnWhereTheServiceHasCome) {
  const uint64_t seed = test_seed();
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  Rng rng(seed);
  unsigned faults = 0;
  for (int round = 0; round < 25; ++round) {
    Session session(*fake, rng.next());
    session.fault_every = 2 + rng.below(4);
    answer([&](const testing::HttpRequest& request) { return session(request); });
    GcsSettings with = settings();
    with.cloud.retry.attempts_max = 30;
    with.cloud.chunk_bytes = 1 + rng.below(3 * kGrain);  // Whatever somebody sets.
    const std::string content = pattern(with.cloud.chunk_bytes + 1 + rng.below(6 * kGrain), rng.next());
    const auto info = open(with)->put(key, as_bytes(content));
    ASSERT_TRUE(info.has_value()) << info.error().to_string();
    EXPECT_EQ(info->bytes, content.size());
    EXPECT_TRUE(session.complete && session.content == content);
    faults += session.faults;
    answer(HttpAnswer{.status = 500});  // The session is gone.
  }
  EXPECT_GT(faults, 0u);
}

TEST_F(GcsStoreTest, NeverShowsTheAddressOfASession) {
  Session session(*fake, 1);
  answer([&](const testing::HttpRequest& request) -> HttpAnswer {
    return request.method == "POST" ? session(request) : refusal(410, "", "Gone");
  });
  const auto put = open()->put(key, as_bytes(std::string(3 * kGrain, 'x')));
  ASSERT_FALSE(put.has_value());
  EXPECT_EQ(put.error().code(), Errc::kTransient) << "the whole object may be sent again";
  EXPECT_EQ(put.error().to_string().find("secret"), std::string::npos) << put.error().to_string();
  EXPECT_EQ(fake->requests().back().method, "DELETE") << "a session that is not completed is given up";
}

TEST_F(GcsStoreTest, KeepsItsTokenFromOtherHosts) {
  auto elsewhere = std::move(HttpFake::start([](const auto&) { return HttpAnswer{.status = 403}; })).value();
  answer([&](const testing::HttpRequest&) -> HttpAnswer {
    return {.headers = {{"Location", elsewhere->url("/upload?upload_id=1")}}};
  });
  EXPECT_FALSE(open()->put(key, as_bytes(std::string(3 * kGrain, 'x'))).has_value());
  ASSERT_GT(elsewhere->request_count(), 0u);
  for (const auto& request : elsewhere->requests()) EXPECT_FALSE(request.has_header("Authorization"));
}

TEST_F(GcsStoreTest, RemovesWhatIsStoredDamaged) {
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    if (request.method == "DELETE") return {.status = 204};
    return {.body = resource("some/place/main/object", "other").dump()};
  });
  const auto put = open()->put(key, as_bytes("hello"));
  ASSERT_FALSE(put.has_value());
  EXPECT_EQ(put.error().code(), Errc::kTransient);
  const auto removal = fake->requests().back();
  EXPECT_EQ(removal.method, "DELETE");
  EXPECT_EQ(removal.parameter("ifGenerationMatch"), "1");
}

TEST_F(GcsStoreTest, AsksForANewTokenOnce) {
  const auto store = open();
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    if (request.header("Authorization") != "Bearer token-2") return refusal(401, "authError", "Invalid Credentials");
    return {.body = resource("some/place/main/object", "hello").dump()};
  });
  EXPECT_EQ(store->stat(key).value()->bytes, 5u);
  EXPECT_EQ(fake->request_count(), 2u);
  answer(refusal(401, "authError", "Invalid Credentials"));
  const Error error = store->stat(key).error();
  EXPECT_EQ(error.code(), Errc::kPermission);
  EXPECT_EQ(error.to_string().find("token-"), std::string::npos);
  EXPECT_EQ(fake->request_count(), 4u);
}

TEST_F(GcsStoreTest, ExplainsWhyAnObjectCannotBeDeletedYet) {
  for (const char* reason : {"retentionPolicyNotMet", "objectUnderActiveHold"}) {
    answer(refusal(403, reason, "Object is subject to something."));
    const auto removed = open()->remove(key);
    ASSERT_FALSE(removed.has_value());
    EXPECT_EQ(removed.error().code(), Errc::kPermission);
    EXPECT_NE(removed.error().to_string().find("cannot be deleted yet"), std::string::npos);
  }
}

TEST_F(GcsStoreTest, SaysWhatMayPass) {
  const auto store = open();
  for (const HttpAnswer& busy : {refusal(429, "rateLimitExceeded", "slow"), refusal(503, "backendError", "later"),
                                 refusal(408, "", "Request Timeout")}) {
    answer(busy);
    EXPECT_EQ(store->stat(key).error().code(), Errc::kTransient);
  }
  answer(refusal(400, "invalid", "Provided CRC32C \"AAAAAA==\" doesn't match calculated CRC32C \"BBBBBB==\"."));
  EXPECT_EQ(store->put(key, as_bytes("x")).error().code(), Errc::kTransient);
  answer(refusal(500, "internalError", "oops"));
  EXPECT_EQ(store->put(key, as_bytes("x")).error().code(), Errc::kOutcomeUnknown);
  EXPECT_EQ(store->remove(key).error().code(), Errc::kOutcomeUnknown);
}

TEST_F(GcsStoreTest, ReadsARangeAndNothingPastTheEnd) {
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    EXPECT_EQ(request.path, std::string(kObjects) + "/some%2Fplace%2Fmain%2Fobject");
    EXPECT_EQ(request.parameter("alt"), "media");
    if (request.header("Range") == "bytes=100-109") return {.status = 416, .body = "Request range not satisfiable"};
    return {.status = 206, .headers = {{"Content-Range", "bytes 95-99/100"}}, .body = "12345"};
  });
  const auto store = open();
  Buffer into(10);
  EXPECT_EQ(store->read(key, 95, into.bytes()).value(), 5u);
  EXPECT_EQ(as_text(into.bytes().first(5)), "12345");
  EXPECT_EQ(store->read(key, 100, into.bytes()).value(), 0u);
}

TEST_F(GcsStoreTest, ListsBehindAKeyThoughTheServiceBeginsAtIt) {
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    EXPECT_EQ(request.parameter("prefix"), "some/place/main/");
    EXPECT_EQ(request.parameter("startOffset"), "some/place/main/b");
    const Json item_b = resource("some/place/main/b", "1");
    const Json item_c = resource("some/place/main/c", "12");
    const Json foreign = resource("some/place/main/c d", "1");
    const Json item_d = resource("some/place/main/d", "123");
    if (request.parameter("pageToken") == "next") return {.body = Json{{"items", {foreign, item_d}}}.dump()};
    return {.body = Json{{"items", {item_b, item_c}}, {"nextPageToken", "next"}}.dump()};
  });
  const auto store = open();
  const auto page = store->list({.prefix = "main/", .after = "main/b", .limit = 1}).value();
  ASSERT_EQ(page.objects.size(), 1u);
  EXPECT_EQ(page.objects[0].key.value, "main/c");
  EXPECT_EQ(page.objects[0].bytes, 2u);
  EXPECT_TRUE(page.more);
  const auto all = store->list({.prefix = "main/", .after = "main/b", .limit = 10}).value();
  ASSERT_EQ(all.objects.size(), 2u) << "what is no key of ours is left out";
  EXPECT_FALSE(all.more);
}

TEST_F(GcsStoreTest, RemovesManyAndTellsOfEach) {
  answer([](const testing::HttpRequest& request) -> HttpAnswer {
    if (request.path.ends_with("absent")) return no_object();
    if (request.path.ends_with("locked")) return refusal(403, "retentionPolicyNotMet", "Not yet.");
    if (request.header("Authorization") == "Bearer token-1") return refusal(401, "authError", "Invalid Credentials");
    return {.status = 204};
  });
  std::vector<ObjectKey> keys;
  for (int i = 0; i < 100; ++i) keys.push_back({fmt::format("main/{}", i)});
  keys[10].value = "main/absent";
  keys[20].value = "main/locked";
  const auto results = open()->remove_many(keys);
  ASSERT_EQ(results.size(), keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i == 10 || i == 20) continue;
    EXPECT_TRUE(results[i].has_value() && *results[i]) << i;
  }
  EXPECT_FALSE(results[10].value());
  EXPECT_EQ(results[20].error().code(), Errc::kPermission);
}

TEST_F(GcsStoreTest, RefusesAnswersThatMakeNoSense) {
  const auto store = open();
  for (const char* body : {"", "[]", "{}", "<html>Welcome to the hotel</html>", R"({"name": "x", "size": "many"})",
                           R"({"name": "x", "size": "1", "timeCreated": "yesterday"})"}) {
    answer(HttpAnswer{.body = body});
    EXPECT_EQ(store->stat(key).error().code(), Errc::kCorrupt) << body;
    if (std::string_view(body).starts_with('{')) continue;
    EXPECT_EQ(store->list({}).error().code(), Errc::kCorrupt) << body;
  }
  answer(HttpAnswer{.body = R"({"items": [{"name": 7}]})"});
  EXPECT_EQ(store->list({}).error().code(), Errc::kCorrupt);
}

TEST(GcsPersisted, IsReadFromTheRange) {
  const auto persisted = [](std::string range) {
    HttpResponse answer;
    if (!range.empty()) answer.headers = {{"range", std::move(range)}};
    return parse_gcs_persisted(answer);
  };
  EXPECT_EQ(persisted("").value(), 0u);
  EXPECT_EQ(persisted("bytes=0-262143").value(), kGrain);
  for (const char* bad : {"bytes=1-5", "bytes=0-", "bytes=0-5x", "0-5", "bytes=0-18446744073709551615"})
    EXPECT_EQ(persisted(bad).error().code(), Errc::kCorrupt) << bad;
}

TEST(GcsSettings, RefusesWhatCannotWork) {
  for (const char* bucket : {"", "ab", "Box", "a/b"}) {
    GcsSettings settings;
    settings.bucket = bucket;
    int tokens = 0;
    const auto store = GcsStore::open(settings, std::make_unique<FakeTokens>(tokens));
    ASSERT_FALSE(store.has_value()) << bucket;
    EXPECT_EQ(store.error().code(), Errc::kInvalid);
  }
}

}  // namespace
}  // namespace pgark
