// The S3 store against a server inside the test that answers as a real one may and a well-behaved one does not. What
// real servers do is in tests/e2e/s3_test.cc.
#include "store/s3_store.h"

#include <gmock/gmock.h>

#include <map>
#include <utility>

#include "codec/digest.h"
#include "codec/encoding.h"
#include "store/cloud_util.h"
#include "store/retry_store.h"
#include "store/store_test_util.h"
#include "testing/http_fake.h"

namespace pgark {
namespace {

using std::chrono::milliseconds;

using pgark::testing::HttpAnswer;
using pgark::testing::HttpFake;
using Asked = pgark::testing::HttpRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

HttpAnswer refusal(int status, const std::string& code, const std::string& more = "") {
  return {.status = status, .body = "<Error><Code>" + code + "</Code><Message>no</Message>" + more + "</Error>"};
}

/// A bucket in memory, and what it is told to answer instead.
class FakeBucket {
 public:
  FakeBucket() {
    server_ = std::move(HttpFake::start([this](const Asked& asked) { return handle(asked); })).value();
  }

  /// Asked before every request; an answer goes instead of what the bucket would do.
  std::function<std::optional<HttpAnswer>(const Asked&)> before;
  /// Asked after it, with what was done.
  std::function<void(const Asked&, HttpAnswer&)> after;
  std::map<std::string, Asked> objects;  // By path: the request that made it.
  std::map<std::string, std::map<int, std::string>> uploads;
  bool knows_conditions = true;

  HttpFake& server() { return *server_; }
  std::vector<std::string> asked() const {
    std::vector<std::string> lines;
    for (const Asked& one : server_->requests()) lines.push_back(one.method + " " + one.target);
    return lines;
  }

 private:
  HttpAnswer handle(const Asked& asked) {
    if (before) {
      if (auto instead = before(asked)) return *instead;
    }
    HttpAnswer answer = act(asked);
    if (after) after(asked, answer);
    return answer;
  }

  HttpAnswer act(const Asked& asked) {
    if (asked.method == "POST" && asked.parameter("uploads")) {
      uploads["U1"] = {};
      begun_ = asked;
      return {.body = "<InitiateMultipartUploadResult><UploadId>U1</UploadId></InitiateMultipartUploadResult>"};
    }
    if (asked.method == "PUT" && asked.parameter("partNumber")) {
      uploads["U1"][std::stoi(*asked.parameter("partNumber"))] = asked.body;
      return {.headers = {{"ETag", "\"e" + *asked.parameter("partNumber") + "\""}}};
    }
    if (asked.method == "POST" && asked.parameter("uploadId")) {
      Asked whole = begun_;
      if (!uploads.contains("U1")) return refusal(404, "NoSuchUpload");
      for (const auto& [number, part] : uploads["U1"]) whole.body += part;
      auto answer = create(asked, whole);
      if (answer.status == 200) uploads.clear();
      answer.body = "<CompleteMultipartUploadResult/>";
      return answer;
    }
    if (asked.method == "DELETE" && asked.parameter("uploadId")) {
      uploads.clear();
      return {.status = 204};
    }
    if (asked.method == "PUT") return create(asked, asked);
    const auto found = objects.find(asked.path);
    if (asked.method == "DELETE") {
      if (found != objects.end()) objects.erase(found);
      return {.status = 204};
    }
    if (found == objects.end()) return asked.path == "/bucket" ? HttpAnswer{} : refusal(404, "NoSuchKey");
    const std::string& body = found->second.body;
    const pgark::testing::HttpHeaders headers{
        {"x-amz-meta-pgark-writer", found->second.header("x-amz-meta-pgark-writer")},
        {"Last-Modified", "Sun, 22 Nov 2026 22:10:00 GMT"}};
    if (asked.method == "HEAD") return {.headers = headers, .body = body};
    size_t first = 0;
    size_t last = 0;
    std::sscanf(asked.header("range").c_str(), "bytes=%zu-%zu", &first, &last);
    if (first >= body.size()) return refusal(416, "InvalidRange");
    last = std::min(last, body.size() - 1);
    return {.status = 206,
            .headers = {{"Content-Range", "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" +
                                              std::to_string(body.size())}},
            .body = body.substr(first, last - first + 1)};
  }

  HttpAnswer create(const Asked& asked, const Asked& whole) {
    const bool conditional = asked.has_header("if-none-match");
    if (conditional && !knows_conditions) return refusal(501, "NotImplemented");
    if (conditional && objects.contains(whole.path)) return refusal(412, "PreconditionFailed");
    objects[whole.path] = whole;
    return {};
  }

  Asked begun_;
  std::unique_ptr<HttpFake> server_;
};

class S3StoreTest : public ::testing::Test {
 protected:
  S3Settings settings() {
    S3Settings settings;
    settings.cloud.prefix = "p/";
    settings.cloud.clock = &clock_;
    settings.bucket = "bucket";
    settings.endpoint = bucket_.server().url();
    settings.region = "us-east-1";
    settings.uri_style = S3UriStyle::kPath;
    settings.key = "AKID";
    settings.key_secret = "very-secret";
    return settings;
  }
  std::unique_ptr<S3Store> open() { return open(settings()); }
  static std::unique_ptr<S3Store> open(const S3Settings& settings) {
    auto store = S3Store::open(settings);
    EXPECT_TRUE(store.has_value()) << store.error().to_string();
    return std::move(*store);
  }
  static Result<ObjectInfo> put(ObjectStore& store, std::string_view text = "content") {
    return store.put({"k"}, as_bytes(text));
  }
  template <typename T>
  static void expect_error(const Result<T>& result, Errc code, const std::string& text = "") {
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code(), code) << result.error().to_string();
    EXPECT_THAT(result.error().to_string(), HasSubstr(text));
    EXPECT_THAT(result.error().to_string(), Not(HasSubstr("very-secret")));
  }

  NoWaitClock clock_;
  FakeBucket bucket_;
};

// -- A service that wants to be left alone for a while.

TEST_F(S3StoreTest, WaitsAsLongAsTheServiceAsks) {
  const auto waited = [&](int status, const std::string& seconds) {
    const size_t before = clock_.waits().size();
    bool refused = false;
    bucket_.before = [&](const Asked&) -> std::optional<HttpAnswer> {
      if (std::exchange(refused, true)) return std::nullopt;
      HttpAnswer answer = refusal(status, "SlowDown");
      if (!seconds.empty()) answer.headers.push_back({"Retry-After", seconds});
      return answer;
    };
    RetryStore store(open(), {.delay_first = milliseconds(1)}, clock_, 1);
    EXPECT_TRUE(store.stat({"k"}).has_value());
    milliseconds sum{0};
    const auto waits = clock_.waits();
    for (size_t i = before; i < waits.size(); ++i) sum += waits[i];
    return sum.count();
  };
  EXPECT_LE(waited(503, ""), 1);
  EXPECT_LE(waited(503, "0"), 1);
  for (const int status : {429, 503}) {
    EXPECT_GE(waited(status, "7"), 7000);
    EXPECT_LE(waited(status, "7"), 7001);
  }
  EXPECT_GE(waited(503, "86400"), 30'000);
  EXPECT_LE(waited(503, "86400"), 30'001) << "not for a day";
  EXPECT_LE(waited(500, "7"), 1) << "no refusal for now";
}

TEST_F(S3StoreTest, CancellationEndsTheWaitTheServiceAsksFor) {
  CancelToken cancel;
  auto with = settings();
  with.cloud.cancel = &cancel;
  auto store = open(with);
  bucket_.before = [&](const Asked&) -> std::optional<HttpAnswer> {
    cancel.cancel();
    return HttpAnswer{.status = 503, .headers = {{"Retry-After", "20"}}};
  };
  expect_error(store->stat({"k"}), Errc::kCancelled);
  EXPECT_THAT(clock_.waits(), IsEmpty());
}

// A proxy on the way may repeat a request by itself: the answer is then of the second one, which meets the first's
// object.
TEST_F(S3StoreTest, RequestSentTwiceOnItsWayIsNoConflict) {
  bucket_.after = [](const Asked& asked, HttpAnswer& answer) {
    const bool creates = asked.method == "PUT" && !asked.parameter("partNumber");
    const bool completes = asked.method == "POST" && asked.parameter("uploadId");
    if (answer.status == 200 && (creates || completes)) answer = refusal(412, "PreconditionFailed");
  };
  auto with = settings();
  with.cloud.chunk_bytes = 1000;
  auto store = open(with);
  for (const size_t bytes : {size_t{7}, size_t{2500}}) {
    const ObjectKey key{"k" + std::to_string(bytes)};
    const std::string content(bytes, 'x');
    const auto made = store->put(key, as_bytes(content));
    ASSERT_TRUE(made.has_value()) << made.error().to_string();
    EXPECT_EQ(made->bytes, bytes);
    EXPECT_EQ(bucket_.objects.at("/bucket/p/" + key.value).body, content);
    // The name stays taken for everybody else, and for the same content.
    expect_error(open(with)->put(key, as_bytes(content)), Errc::kAlreadyExists);
  }
}

// -- What is sent.

TEST_F(S3StoreTest, SignsContentAndAsksForCreation) {
  auto one = settings();
  one.storage_class = "STANDARD_IA";
  one.kms_key_id = "arn:key";
  one.requester_pays = true;
  one.cloud.tags = {{"a b", "c&d"}, {"e", "f"}};
  one.object_lock_mode = "compliance";
  one.object_lock_days = 30;
  auto store = open(one);
  ASSERT_TRUE(put(*store).has_value());
  const Asked asked = bucket_.server().requests().at(0);
  EXPECT_EQ(asked.method + " " + asked.target, "PUT /bucket/p/k");
  EXPECT_EQ(asked.header("if-none-match"), "*");
  EXPECT_EQ(asked.header("x-amz-content-sha256"), to_hex(sha256("content")));
  EXPECT_THAT(asked.header("authorization"), HasSubstr("Credential=AKID/"));
  EXPECT_THAT(asked.header("authorization"), HasSubstr("/us-east-1/s3/aws4_request"));
  EXPECT_EQ(asked.header("x-amz-storage-class"), "STANDARD_IA");
  EXPECT_EQ(asked.header("x-amz-server-side-encryption-aws-kms-key-id"), "arn:key");
  EXPECT_EQ(asked.header("x-amz-request-payer"), "requester");
  EXPECT_EQ(asked.header("x-amz-tagging"), "a%20b=c%26d&e=f");
  EXPECT_EQ(asked.header("x-amz-object-lock-mode"), "COMPLIANCE");
  EXPECT_EQ(asked.header("content-md5"), base64_encode(*md5(as_bytes("content"))));
  const auto until = parse_utc_time(asked.header("x-amz-object-lock-retain-until-date"));
  ASSERT_TRUE(until.has_value());
  EXPECT_LT(std::chrono::abs(*until - clock_.now() - std::chrono::hours(24 * 30)), std::chrono::minutes(1));
  ASSERT_TRUE(store->put({"main/lease/x"}, as_bytes("")).has_value());
  EXPECT_FALSE(bucket_.server().requests().at(1).has_header("x-amz-object-lock-mode"));
}

TEST_F(S3StoreTest, RefusesSettingsThatContradictEachOther) {
  const auto refused = [&](auto change, const std::string& text) {
    S3Settings one = settings();
    change(one);
    expect_error(S3Store::open(one), Errc::kInvalid, text);
  };
  refused([](S3Settings& s) { s.bucket = ""; }, "repo1-s3-bucket");
  refused([](S3Settings& s) { s.bucket = "a/b"; }, "repo1-s3-bucket");
  refused([](S3Settings& s) { s.region = ""; }, "repo1-s3-region");
  refused([](S3Settings& s) { s.endpoint = "h/path"; }, "repo1-s3-endpoint");
  refused([](S3Settings& s) { s.uri_style = S3UriStyle::kHost; }, "set repo1-s3-uri-style=path");
  refused([](S3Settings& s) { s.object_lock_days = 1; }, "go together");
  refused([](S3Settings& s) { s.sse_customer_key = "short"; }, "32 bytes");
  refused([](S3Settings& s) { s.storage_class = "GLACIER"; }, "thawed");
  refused([](S3Settings& s) { s.cloud.prefix = "/a/"; }, "'//a/'");
  refused(
      [](S3Settings& s) {
        s.sse_customer_key = base64_encode(std::string(32, 'k'));
        s.kms_key_id = "key";
      },
      "together");
}

TEST_F(S3StoreTest, BucketThatLocksByItselfGetsTheMd5ItWants) {
  bucket_.before = [](const Asked& asked) -> std::optional<HttpAnswer> {
    if (asked.method != "PUT" || asked.has_header("content-md5")) return std::nullopt;
    return HttpAnswer{.status = 400,
                      .body =
                          "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is "
                          "required for Put Object requests with Object Lock parameters</Message></Error>"};
  };
  auto store = open();
  ASSERT_TRUE(put(*store).has_value());
  ASSERT_TRUE(store->put({"large"}, as_bytes(std::string(12u << 20, 'x'))).has_value());
  const auto requests = bucket_.server().requests();
  EXPECT_EQ(requests.at(1).header("content-md5"), base64_encode(*md5(as_bytes("content"))));
  EXPECT_EQ(std::count_if(requests.begin(), requests.end(),
                          [](const Asked& one) { return one.method == "PUT" && !one.has_header("content-md5"); }),
            1);
}

// -- Creating.

TEST_F(S3StoreTest, TakenNameIsSaid) {
  auto store = open();
  ASSERT_TRUE(put(*store).has_value());
  expect_error(put(*store, "other"), Errc::kAlreadyExists, "write object 'k' in repo1 at s3://bucket/p/");
  EXPECT_EQ(bucket_.objects.at("/bucket/p/k").body, "content");
}

TEST_F(S3StoreTest, LostAnswerIsSettledByTheMarkOfTheWriter) {
  auto store = open();
  bucket_.after = [](const Asked& asked, HttpAnswer& answer) {
    if (asked.method == "PUT") answer = {.no_answer = true};
  };
  const auto ours = put(*store);
  ASSERT_TRUE(ours.has_value()) << ours.error().to_string();
  EXPECT_EQ(ours->bytes, 7u);
  // What lies there now is not this writer's, though the bytes are the same.
  expect_error(put(*store), Errc::kAlreadyExists);
}

TEST_F(S3StoreTest, LostRequestIsSentAgainByTheRetryingStore) {
  int lost = 2;
  bucket_.before = [&](const Asked& asked) -> std::optional<HttpAnswer> {
    if (asked.method == "PUT" && lost-- > 0) return HttpAnswer{.no_answer = true};
    return std::nullopt;
  };
  RetryStore store(open(), {}, clock_, 1);
  ASSERT_TRUE(put(store).has_value());
  EXPECT_EQ(bucket_.objects.at("/bucket/p/k").body, "content");
}

TEST_F(S3StoreTest, ServerWithoutConditionsIsLookedAtBeforeAndAfter) {
  bucket_.knows_conditions = false;
  auto store = open();
  EXPECT_TRUE(store->caps().atomic_create_only);
  ASSERT_TRUE(put(*store).has_value());
  EXPECT_FALSE(store->caps().atomic_create_only);
  EXPECT_THAT(bucket_.asked(), ElementsAre("PUT /bucket/p/k", "HEAD /bucket/p/k", "HEAD /bucket", "PUT /bucket/p/k",
                                           "HEAD /bucket/p/k"));
  expect_error(put(*store, "other"), Errc::kAlreadyExists);
  EXPECT_EQ(bucket_.objects.at("/bucket/p/k").body, "content");
  // Another writer comes in between our writing and our second look.
  bucket_.after = [&](const Asked& asked, HttpAnswer&) {
    if (asked.method == "PUT") bucket_.objects["/bucket/p/x"].headers.emplace_back("x-amz-meta-pgark-writer", "other");
  };
  bucket_.objects.clear();
  bucket_.after = [&](const Asked& asked, HttpAnswer&) {
    if (asked.method == "PUT") bucket_.objects[asked.path].headers = {{"x-amz-meta-pgark-writer", "another"}};
  };
  expect_error(put(*store), Errc::kAlreadyExists);
}

TEST_F(S3StoreTest, RefusedCompletionInAnAnswerOfSuccessIsSeen) {
  auto one = settings();
  one.cloud.chunk_bytes = 5u << 20;
  auto store = open(one);
  const std::string text(6u << 20, 'x');
  int failures = 1;
  bucket_.before = [&](const Asked& asked) -> std::optional<HttpAnswer> {
    if (asked.method != "POST" || !asked.parameter("uploadId") || failures-- <= 0) return std::nullopt;
    EXPECT_EQ(asked.header("if-none-match"), "*");
    auto answer = refusal(200, "InternalError");
    return answer;
  };
  // Its outcome is unknown; it is looked for, not found, and completed again.
  auto written = store->put({"large"}, as_bytes(text));
  ASSERT_TRUE(written.has_value()) << written.error().to_string();
  EXPECT_EQ(bucket_.objects.at("/bucket/p/large").body.size(), text.size());
  EXPECT_EQ(failures, -1);

  failures = 0;
  bucket_.after = [&](const Asked& asked, HttpAnswer& answer) {
    if (asked.method == "POST" && asked.parameter("uploadId")) answer = {.no_answer = true};
  };
  written = store->put({"lost"}, as_bytes(text));
  ASSERT_TRUE(written.has_value()) << written.error().to_string();

  bucket_.after = nullptr;
  bucket_.before = [&](const Asked& asked) -> std::optional<HttpAnswer> {
    if (asked.method == "POST" && asked.parameter("uploadId")) return refusal(200, "PreconditionFailed");
    return std::nullopt;
  };
  expect_error(store->put({"taken"}, as_bytes(text)), Errc::kAlreadyExists);
  EXPECT_THAT(bucket_.uploads, IsEmpty()) << "the parts of the loser are dropped";
}

TEST_F(S3StoreTest, ThrottlingIsTransientAndOtherServerErrorsOfCreationAreUnknown) {
  auto store = open();
  for (const auto& [status, code, errc] :
       std::vector<std::tuple<int, std::string, Errc>>{{503, "SlowDown", Errc::kTransient},
                                                       {429, "TooManyRequests", Errc::kTransient},
                                                       {500, "InternalError", Errc::kOutcomeUnknown},
                                                       {503, "ServiceUnavailable", Errc::kOutcomeUnknown},
                                                       {400, "RequestTimeout", Errc::kTransient},
                                                       {403, "QuotaExceeded", Errc::kNoSpace},
                                                       {403, "AccessDenied", Errc::kPermission}}) {
    const std::string& name = code;
    const int number = status;
    bucket_.before = [number, &name](const Asked& asked) -> std::optional<HttpAnswer> {
      if (asked.method == "PUT" || asked.method == "GET") return refusal(number, name);
      return std::nullopt;
    };
    expect_error(put(*store), errc, code);
    Buffer into(3);
    const auto read = store->read({"k"}, 0, into.bytes());
    expect_error(read, errc == Errc::kOutcomeUnknown ? Errc::kTransient : errc, "read object 'k'");
  }
}

// -- What an answer tells how to put right.

TEST_F(S3StoreTest, ClockIsCorrectedByTheStoresTime) {
  const auto theirs = std::chrono::time_point_cast<std::chrono::seconds>(clock_.now()) - std::chrono::hours(24 * 365);
  const auto days = std::chrono::floor<std::chrono::days>(theirs);
  const std::chrono::year_month_day date(days);
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  char text[64];
  const std::chrono::hh_mm_ss time(theirs - days);
  std::snprintf(text, sizeof text, "Sun, %02u %s %d %02d:%02d:%02d GMT", static_cast<unsigned>(date.day()),
                kMonths[static_cast<unsigned>(date.month()) - 1], static_cast<int>(date.year()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()));
  const std::string day = format_basic_time(theirs).substr(0, 8);
  bucket_.before = [&](const Asked& asked) -> std::optional<HttpAnswer> {
    if (asked.header("x-amz-date").starts_with(day)) return std::nullopt;
    auto answer = refusal(403, "RequestTimeTooSkewed");
    answer.headers = {{"Date", text}};
    return answer;
  };
  auto store = open();
  const auto stat = store->stat({"k"});  // HEAD: the answer has no body.
  ASSERT_TRUE(stat.has_value()) << stat.error().to_string();
  ASSERT_TRUE(put(*store).has_value());
  EXPECT_THAT(bucket_.asked(), ElementsAre("HEAD /bucket/p/k", "HEAD /bucket/p/k", "HEAD /bucket", "PUT /bucket/p/k"));
  // A clock that cannot be put right is reported, and not asked for ever.
  bucket_.before = [](const Asked&) { return refusal(403, "RequestTimeTooSkewed"); };
  expect_error(put(*store), Errc::kPermission, "set the clock");
}

TEST_F(S3StoreTest, RegionIsFollowedOnce) {
  for (const bool by_header : {true, false}) {
    bucket_.before = [&](const Asked& asked) -> std::optional<HttpAnswer> {
      if (asked.header("authorization").find("/eu-west-1/s3/") != std::string::npos) return std::nullopt;
      auto answer = refusal(by_header ? 301 : 400, by_header ? "PermanentRedirect" : "AuthorizationHeaderMalformed",
                            by_header ? "<Endpoint>evil.example</Endpoint>" : "<Region>eu-west-1</Region>");
      if (by_header) answer.headers = {{"x-amz-bucket-region", "eu-west-1"}, {"Location", "http://evil.example/"}};
      return answer;
    };
    auto store = open();
    const auto list = store->list_all("x");
    EXPECT_FALSE(list.has_value());  // The fake has no listings; it was reached.
    const size_t before = bucket_.server().request_count();
    ASSERT_TRUE(store->stat({"k"}).has_value());
    EXPECT_EQ(bucket_.server().request_count(), before + 1) << "signed for the right region from then on";
  }
  bucket_.before = [&](const Asked& asked) -> std::optional<HttpAnswer> {
    auto answer = refusal(301, "PermanentRedirect");
    const bool first = asked.header("authorization").find("/us-east-1/") != std::string::npos;
    answer.headers = {{"x-amz-bucket-region", first ? "eu-west-1" : "us-east-1"}};
    return answer;
  };
  expect_error(put(*open()), Errc::kInvalid, "PermanentRedirect");
}

TEST_F(S3StoreTest, CredentialsThatEndedAreAskedForAgain) {
  const ScratchDirectory scratch;
  auto one = settings();
  one.key_type = S3KeyType::kProcess;
  // Each call gives the next key.
  one.credential_process =
      "cd " + scratch.path() +
      " && echo x >> n && printf '{\"Version\":1,\"AccessKeyId\":\"KEY%d\",\"SecretAccessKey\":\"s\","
      "\"SessionToken\":\"t\",\"Expiration\":\"2099-01-01T00:00:00Z\"}' $(wc -l < n)";
  auto store = open(one);
  bucket_.before = [](const Asked& asked) -> std::optional<HttpAnswer> {
    EXPECT_EQ(asked.header("x-amz-security-token"), "t");
    if (asked.header("authorization").find("Credential=KEY1/") != std::string::npos)
      return refusal(400, "ExpiredToken");
    return std::nullopt;
  };
  const auto written = put(*store);
  ASSERT_TRUE(written.has_value()) << written.error().to_string();
  EXPECT_EQ(bucket_.server().request_count(), 2u);
  bucket_.before = [](const Asked&) { return refusal(400, "ExpiredToken"); };
  expect_error(put(*store), Errc::kPermission, "the temporary credentials have ended");
  EXPECT_EQ(bucket_.server().request_count(), 4u);
}

TEST_F(S3StoreTest, RevokedKeysThatAreMerelyDeniedAreReplaced) {
  const ScratchDirectory scratch;
  auto one = settings();
  one.key_type = S3KeyType::kProcess;
  one.credential_process =
      "cd " + scratch.path() +
      " && echo x >> n && printf '{\"Version\":1,\"AccessKeyId\":\"KEY%d\",\"SecretAccessKey\":\"s\","
      "\"SessionToken\":\"t\",\"Expiration\":\"2099-01-01T00:00:00Z\"}' $(wc -l < n)";
  auto store = open(one);
  bucket_.before = [](const Asked& asked) -> std::optional<HttpAnswer> {
    if (asked.header("authorization").find("Credential=KEY1/") != std::string::npos)
      return refusal(403, "AccessDenied");
    return std::nullopt;
  };
  const auto written = put(*store);
  ASSERT_TRUE(written.has_value()) << written.error().to_string();
  EXPECT_EQ(bucket_.server().request_count(), 2u);
  // What is denied to good keys stays denied, and nobody is asked for others each time.
  bucket_.before = [](const Asked&) { return refusal(403, "AccessDenied"); };
  for (int i = 0; i < 3; ++i) expect_error(put(*store), Errc::kPermission, "AccessDenied");
  EXPECT_EQ(bucket_.server().request_count(), 5u);
}

// -- Reading.

TEST_F(S3StoreTest, ReadsRangesAndKnowsTheEnd) {
  auto store = open();
  ASSERT_TRUE(put(*store, "0123456789").has_value());
  Buffer into(4);
  EXPECT_EQ(store->read({"k"}, 3, into.bytes()).value(), 4u);
  EXPECT_EQ(as_text(into.bytes()), "3456");
  EXPECT_EQ(store->read({"k"}, 8, into.bytes()).value(), 2u);
  EXPECT_EQ(store->read({"k"}, 10, into.bytes()).value(), 0u);
  EXPECT_EQ(store->read({"k"}, ~uint64_t{0}, into.bytes()).value(), 0u);
  EXPECT_EQ(store->read({"k"}, 0, {}).value(), 0u);
  expect_error(store->read({"absent"}, 0, into.bytes()), Errc::kNotFound);
  expect_error(store->read({"absent"}, 0, {}), Errc::kNotFound);
}

TEST_F(S3StoreTest, WrongRangesAreNotBelieved) {
  auto store = open();
  HttpAnswer answer;
  bucket_.before = [&](const Asked&) { return answer; };
  Buffer into(4);
  answer = {.status = 206, .headers = {{"Content-Range", "bytes 0-3/10"}}, .body = "0123"};
  expect_error(store->read({"k"}, 3, into.bytes()), Errc::kCorrupt);
  answer = {.status = 206, .headers = {{"Content-Range", "bytes 3-4/10"}}, .body = "34"};
  expect_error(store->read({"k"}, 3, into.bytes()), Errc::kTransient);
  answer = {.status = 206, .headers = {{"Content-Range", "bytes 3-6/10"}}, .body = "3456", .cut_after = 2};
  expect_error(store->read({"k"}, 3, into.bytes()), Errc::kTransient);
  answer = {.status = 200, .body = "0123"};
  expect_error(store->read({"k"}, 3, into.bytes()), Errc::kCorrupt);
  answer = {.status = 200, .body = "012"};
  EXPECT_EQ(store->read({"k"}, 0, into.bytes()).value(), 3u);
  answer = {.status = 200, .body = "0123456789"};
  expect_error(store->read({"k"}, 0, into.bytes()), Errc::kCorrupt);
}

TEST_F(S3StoreTest, MissingBucketIsNotAMissingObject) {
  bucket_.before = [](const Asked&) { return refusal(404, "NoSuchBucket"); };
  auto store = open();
  expect_error(store->stat({"k"}), Errc::kInvalid, "NoSuchBucket");
  expect_error(store->remove({"k"}), Errc::kInvalid);
  Buffer into(1);
  expect_error(store->read({"k"}, 0, into.bytes()), Errc::kInvalid);
  expect_error(put(*store), Errc::kInvalid);
  expect_error(store->list({}), Errc::kInvalid);
}

// -- Listing.

std::string listing(const std::vector<std::string>& keys,
                    const std::string& more = "<IsTruncated>false</IsTruncated>") {
  std::string text = "<ListBucketResult><EncodingType>url</EncodingType>" + more;
  for (const std::string& key : keys)
    text += "<Contents><Key>" + key +
            "</Key><Size>7</Size><LastModified>2026-11-22T22:10:00.000Z</LastModified></Contents>";
  return text + "</ListBucketResult>";
}

TEST_F(S3StoreTest, ListsPastWhatIsNotOurs) {
  std::vector<HttpAnswer> pages{
      {.body = listing({"p/", "p/a+b", "p/a%2Bb", "p/dir%2F"},
                       "<IsTruncated>true</IsTruncated><NextContinuationToken>t/1+</NextContinuationToken>")},
      {.body = listing({}, "<IsTruncated>true</IsTruncated><NextContinuationToken>t2</NextContinuationToken>")},
      {.body = listing({"p/k1", "p/k2"}, "<IsTruncated>true</IsTruncated>")},
      {.body = listing({"p/k2", "p/k3"})}};
  size_t next = 0;
  bucket_.before = [&](const Asked&) { return pages.at(next++); };
  auto store = open();
  const auto page = store->list({.prefix = "", .after = "a", .limit = 2});
  ASSERT_TRUE(page.has_value()) << page.error().to_string();
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_TRUE(page->more);
  EXPECT_EQ(page->objects[1].key.value, "k2");
  EXPECT_EQ(page->objects[1].bytes, 7u);
  EXPECT_NE(page->objects[1].modified, Timestamp{});
  const auto requests = bucket_.server().requests();
  EXPECT_EQ(requests[0].parameter("start-after"), "p/a");
  EXPECT_EQ(requests[0].parameter("prefix"), "p/");
  EXPECT_EQ(requests[0].parameter("max-keys"), "2");
  EXPECT_EQ(requests[1].parameter("continuation-token"), "t/1+");
  // A server that begins with the key itself.
  const auto rest = store->list({.prefix = "", .after = "k2", .limit = 2});
  ASSERT_TRUE(rest.has_value());
  ASSERT_EQ(rest->objects.size(), 1u);
  EXPECT_EQ(rest->objects[0].key.value, "k3");
  EXPECT_FALSE(rest->more);
}

TEST_F(S3StoreTest, ListingsThatMakeNoSenseAreNotBelieved) {
  auto store = open();
  HttpAnswer answer;
  bucket_.before = [&](const Asked&) { return answer; };
  for (const std::string& body :
       {std::string("<html>please log in</html>"), std::string(), std::string("<ListBucketRes"),
        std::string("<ListBucketResult><Contents><Key>p/a</Key><Size>x</Size></Contents>"
                    "</ListBucketResult>"),
        listing({}, "<IsTruncated>true</IsTruncated>"),
        listing({"p/a b"},
                "<IsTruncated>true</IsTruncated><NextContinuationToken>t"
                "</NextContinuationToken>")}) {
    answer = {.body = body};
    expect_error(store->list({}), Errc::kCorrupt, "list '' in repo1");
  }
  answer = {.body = listing({"p/b", "p/a"})};
  expect_error(store->list({}), Errc::kUnsupported, "order of keys");
}

// -- Removing.

TEST_F(S3StoreTest, RemovesInBatchesAndTellsWhichStayed) {
  auto one = settings();
  one.cloud.prefix = "a&b/";
  auto store = open(one);
  std::vector<ObjectKey> keys;
  for (int i = 0; i < 1500; ++i) keys.push_back({"k" + std::to_string(i)});
  bucket_.before = [&](const Asked& asked) -> std::optional<HttpAnswer> {
    EXPECT_EQ(asked.method + " " + asked.target, "POST /bucket?delete=");
    EXPECT_EQ(asked.header("content-md5"), base64_encode(*md5(as_bytes(asked.body))));
    std::string failed;
    if (asked.body.find("<Key>a&amp;b/k3</Key>") != std::string::npos)
      failed =
          "<Error><Key>a&amp;b/k3</Key><Code>AccessDenied</Code></Error>"
          "<Error><Key>a&amp;b/k4</Key><Code>InternalError</Code></Error>";
    return HttpAnswer{.body = "<DeleteResult>" + failed + "</DeleteResult>"};
  };
  const auto results = store->remove_many(keys);
  EXPECT_EQ(bucket_.server().request_count(), 2u);
  ASSERT_EQ(results.size(), 1500u);
  for (size_t i = 0; i < results.size(); ++i) {
    if (i == 3) {
      expect_error(results[i], Errc::kPermission, "remove object 'k3'");
    } else if (i == 4) {
      expect_error(results[i], Errc::kTransient);
    } else {
      EXPECT_TRUE(results[i].has_value());
    }
  }
  // The retrying store repeats what may pass.
  RetryStore retry(open(one), {}, clock_, 1);
  int answered = 0;
  bucket_.before = [&](const Asked& asked) -> std::optional<HttpAnswer> {
    EXPECT_EQ(asked.body.find("k5") != std::string::npos, answered == 0);
    return HttpAnswer{.body = ++answered < 2
                                  ? "<DeleteResult><Error><Key>a&amp;b/k4</Key><Code>SlowDown</Code></Error>"
                                    "<Error><Key>a&amp;b/k6</Key><Code>SlowDown</Code></Error></DeleteResult>"
                                  : "<DeleteResult/>"};
  };
  for (const auto& result : retry.remove_many(std::vector<ObjectKey>{{"k4"}, {"k5"}, {"k6"}}))
    EXPECT_TRUE(result.has_value());
  EXPECT_EQ(answered, 2);
}

TEST_F(S3StoreTest, RemovesOneByOneWhereThereAreNoBatches) {
  auto store = open();
  ASSERT_TRUE(store->put({"a"}, as_bytes("x")).has_value());
  ASSERT_TRUE(store->put({"b"}, as_bytes("x")).has_value());
  bucket_.before = [](const Asked& asked) -> std::optional<HttpAnswer> {
    if (asked.method == "POST") return refusal(501, "NotImplemented");
    return std::nullopt;
  };
  for (const auto& result : store->remove_many(std::vector<ObjectKey>{{"a"}, {"b"}, {"c"}}))
    EXPECT_TRUE(result.has_value());
  EXPECT_THAT(bucket_.objects, IsEmpty());
}

TEST_F(S3StoreTest, RemovalWhoseAnswerWasLostIsNotDenied) {
  RetryStore store(open(), {}, clock_, 1);
  ASSERT_TRUE(put(store).has_value());
  bool lost = false;
  bucket_.after = [&](const Asked& asked, HttpAnswer& answer) {
    if (asked.method == "DELETE" && !std::exchange(lost, true)) answer = {.no_answer = true};
  };
  EXPECT_TRUE(store.remove({"k"}).value());
  EXPECT_TRUE(lost);
  EXPECT_FALSE(store.remove({"k"}).value());
}

TEST_F(S3StoreTest, LockedObjectIsNamedWithItsVersionAndTime) {
  auto one = settings();
  one.object_lock_mode = "governance";
  one.object_lock_days = 1;
  auto store = open(one);
  bucket_.before = [](const Asked& asked) -> std::optional<HttpAnswer> {
    if (asked.method == "HEAD")
      return HttpAnswer{
          .headers = {{"x-amz-version-id", "v+1"}, {"x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z"}}};
    EXPECT_EQ(asked.method + " " + asked.target, "DELETE /bucket/p/k?versionId=v%2B1");
    return refusal(403, "AccessDenied");
  };
  expect_error(store->remove({"k"}), Errc::kPermission, "locked until 2099-01-01T00:00:00Z");
}

TEST_F(S3StoreTest, DropsOldUploadsOnly) {
  const auto upload = [](const std::string& key, const std::string& id, const std::string& begun) {
    return "<Upload><Key>" + key + "</Key><UploadId>" + id + "</UploadId><Initiated>" + begun + "</Initiated></Upload>";
  };
  std::vector<std::string> dropped;
  bucket_.before = [&](const Asked& asked) -> std::optional<HttpAnswer> {
    if (asked.method == "DELETE") {
      dropped.push_back(asked.target);
      return HttpAnswer{.status = 204};
    }
    EXPECT_EQ(asked.parameter("prefix"), "p/");
    const bool second = asked.parameter("key-marker") == "p/b" && asked.parameter("upload-id-marker") == "2";
    return HttpAnswer{
        .body = "<ListMultipartUploadsResult>" +
                (second ? upload("p/c d", "3+", "2020-01-01T00:00:00Z") + upload("p/e", "4", "2999-01-01T00:00:00Z")
                        : upload("p/a", "1", "2020-01-01T00:00:00.000Z") + upload("p/b", "2", "soon") +
                              "<IsTruncated>true</IsTruncated><NextKeyMarker>p/b</NextKeyMarker>"
                              "<NextUploadIdMarker>2</NextUploadIdMarker>") +
                "</ListMultipartUploadsResult>"};
  };
  auto store = open();
  const auto done = store->remove_stale_temporaries(std::chrono::hours(24));
  ASSERT_TRUE(done.has_value()) << done.error().to_string();
  EXPECT_EQ(done->removed, 2u);
  EXPECT_EQ(done->kept, 1u);
  EXPECT_THAT(dropped, ElementsAre("/bucket/p/a?uploadId=1", "/bucket/p/c%20d?uploadId=3%2B"));
}

}  // namespace
}  // namespace pgark
