#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "proxy/domain/wire.h"
#include "proxy/io/node_login.h"
#include "proxy/tests/proxy_fixture.h"

namespace trunkline::proxy {
namespace {

using namespace std::chrono_literals;

// A client that says what it likes.
class RawClient {
 public:
  explicit RawClient(int port, const char* from = "127.0.0.1")
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    EXPECT_EQ(inet_pton(AF_INET, from, &address.sin_addr), 1);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{60, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~RawClient() { close(fd_); }
  RawClient(const RawClient&) = delete;
  void say(const std::string& bytes) {
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // Up to `size` bytes; less: the proxy closed.
  std::string hear(size_t size) {
    std::string out;
    char buffer[4096];
    while (out.size() < size) {
      const ssize_t got = recv(fd_, buffer, std::min(sizeof buffer, size - out.size()), 0);
      if (got <= 0) break;
      out.append(buffer, static_cast<size_t>(got));
    }
    return out;
  }
  std::string hear_all() { return hear(1 << 20); }

 private:
  const int fd_;
};

class Login : public ProxyFixture {
 protected:
  void SetUp() override { add_node(); }
  void start(ProxyOptions options = {}) {
    start_proxy(std::move(options));
    proxy_->endpoints().take(route(v1::ROUTE_STATE_OPEN, 1));
  }
  std::string error_of(const std::string& extra) {
    const Client client = connect(extra);
    EXPECT_EQ(PQstatus(client.get()), CONNECTION_BAD);
    std::string text = PQerrorMessage(client.get());
    const size_t at = text.find("FATAL");
    return at == std::string::npos ? text : text.substr(at);
  }
};

TEST_F(Login, wrong_password_unknown_user_and_unknown_endpoint_look_the_same) {
  start();
  const std::string expected = "FATAL:  password authentication failed for user \"app\"\n";
  EXPECT_EQ(error_of("password=wrong"), expected);
  EXPECT_EQ(error_of("options='-c trunkline.endpoint=99999999-2222-4333-8444-555555555555'"),
            expected);
  EXPECT_EQ(error_of("options='-c trunkline.endpoint=nonsense'"), expected);
  EXPECT_EQ(error_of("options='-c work_mem=1MB'"), expected);
  EXPECT_EQ(error_of("user=nobody"),
            "FATAL:  password authentication failed for user \"nobody\"\n");
  EXPECT_EQ(error_of("user=postgres"),
            "FATAL:  password authentication failed for user \"postgres\"\n");
}

// Bytes of the server's challenge, with the nonce blanked.
std::string challenge(int port, const std::string& user, const std::string& endpoint) {
  RawClient client(port);
  client.say(startup_packet({{"user", user}, {"options", "-ctrunkline.endpoint=" + endpoint}}));
  const std::string offer = client.hear(24);
  const std::string first = "n,,n=,r=abcdefgh";
  std::string body("SCRAM-SHA-256");
  body.push_back('\0');
  put_uint32(body, static_cast<uint32_t>(first.size()));
  client.say(message('p', body + first));
  std::string got = client.hear(5 + 4 + 2 + 8 + 24 + 3 + 24 + 7);
  return offer + got.replace(9 + 2 + 8, 24, 24, '#');
}

TEST_F(Login, a_salt_tells_nothing_and_does_not_change) {
  start();
  const std::string real = challenge(proxy_->port(), "app", kInstance);
  const std::string mock = challenge(proxy_->port(), "nobody", kInstance);
  const std::string other = challenge(proxy_->port(), "nobody2", kInstance);
  EXPECT_EQ(real.size(), mock.size());
  EXPECT_EQ(mock, challenge(proxy_->port(), "nobody", kInstance));
  EXPECT_NE(mock, other);
  EXPECT_NE(real.find("########,s="), std::string::npos) << real;
  EXPECT_NE(mock.find(",i=4096"), std::string::npos) << mock;
}

// A node whose socket is where the proxy looks for it, and whose port takes nobody.
class SocketLogin : public ProxyFixture {
 protected:
  void SetUp() override {
    Node& node = add_node();
    const std::string dsn = node.server->dsn();
    folder_ = dsn.substr(5, dsn.find(' ') - 5);
    std::ofstream(folder_ + "/data/pg_hba.conf")
        << "local all postgres trust\nlocal all all scram-sha-256\nhost all all all reject\n";
    node.server->execute("postgres", "SELECT pg_reload_conf()");
    std::filesystem::create_directories(sockets_.path() + "/host-0");
    std::filesystem::create_symlink(folder_, sockets_.path() + "/host-0/" + node.id);
    ProxyOptions options;
    options.node_sockets = sockets_.path();
    start_proxy(std::move(options));
    proxy_->endpoints().take(route(v1::ROUTE_STATE_OPEN, 1));
  }
  trunkline::testing::TempDirectory sockets_;
  std::string folder_;
};

TEST_F(SocketLogin, a_node_of_this_machine_is_reached_by_its_socket) {
  const Client client = connect();
  ASSERT_EQ(PQstatus(client.get()), CONNECTION_OK) << PQerrorMessage(client.get());
  EXPECT_EQ(value(client, "SELECT coalesce(host(inet_client_addr()), 'socket')"), "socket");
  PGcancel* cancel = PQgetCancel(client.get());
  ASSERT_EQ(PQsendQuery(client.get(), "SELECT pg_sleep(60)"), 1);
  char error[256] = "";
  const auto other = connect();
  ASSERT_TRUE(await([&] {
    const char* sleepers = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    return value(other, sleepers) == "1";
  }));
  EXPECT_EQ(PQcancel(cancel, error, sizeof error), 1) << error;
  PGresult* result = PQgetResult(client.get());
  EXPECT_STREQ(PQresultErrorField(result, PG_DIAG_SQLSTATE), "57014");
  PQclear(result);
  PQfreeCancel(cancel);
}

TEST_F(SocketLogin, another_users_server_in_its_place_is_refused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give the folder away";
  ASSERT_EQ(chown(folder_.c_str(), 4711, 4711), 0);
  const Client client = connect("connect_timeout=2");
  EXPECT_NE(PQstatus(client.get()), CONNECTION_OK);
}

TEST_F(Login, errors_of_the_server_come_through) {
  start();
  EXPECT_EQ(error_of("dbname=none"), "FATAL:  database \"none\" does not exist\n");
}

TEST_F(Login, options_beside_the_endpoint_are_kept) {
  start();
  const Client client = connect(std::string("options='-c work_mem=123kB -c trunkline.endpoint=") +
                                kInstance + " -c geqo=off'");
  EXPECT_EQ(value(client, "SELECT current_setting('work_mem') || current_setting('geqo')"),
            "123kBoff");
}

TEST_F(Login, who_says_nothing_is_let_go) {
  ProxyOptions options;
  options.startup_time = 200ms;
  options.login_time = 400ms;
  start(std::move(options));
  RawClient silent(proxy_->port());
  EXPECT_EQ(silent.hear_all(), "");
  RawClient slow(proxy_->port());
  slow.say(startup_packet({{"user", "app"}}));
  EXPECT_EQ(slow.hear_all().size(), 24u);  // the offer, then the end
  EXPECT_TRUE(await([&] { return proxy_->context().connections.load() == 0; }));
}

TEST_F(Login, silent_clients_of_one_address_keep_no_other_address_out) {
  ProxyOptions options;
  options.newcomers = {12, 3};
  start(std::move(options));
  std::vector<std::unique_ptr<RawClient>> silent;
  for (int i = 0; i < 3; ++i) {
    silent.push_back(std::make_unique<RawClient>(proxy_->port(), "127.0.0.9"));
    silent.back()->say(std::string(1, '\0'));
  }
  RawClient one_too_many(proxy_->port(), "127.0.0.9");
  EXPECT_THAT(one_too_many.hear_all(), ::testing::HasSubstr("53300"));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(value(connect(), "SELECT 1"), "1");
  silent.pop_back();
  // Its place is free once the proxy has seen it go.
  EXPECT_TRUE(await([&] {
    RawClient next(proxy_->port(), "127.0.0.9");
    next.say(startup_packet({{"user", "app"}}));
    return next.hear(1) == "R";
  }));
}

TEST_F(Login, authenticated_clients_are_no_newcomers) {
  ProxyOptions options;
  options.newcomers = {4, 1};
  start(std::move(options));
  std::vector<Client> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(connect());
    EXPECT_EQ(value(clients.back(), "SELECT 1"), "1");
  }
}

TEST_F(Login, one_instance_takes_no_place_from_another) {
  ProxyOptions options;
  options.most_connections = 40;
  options.newcomers.an_address = 40;
  start(std::move(options));
  v1::Route other = route(v1::ROUTE_STATE_OPEN, 1);
  other.set_instance_id("22222222-2222-4333-8444-555555555555");
  proxy_->endpoints().take(other);
  std::vector<Client> greedy;
  while (PQstatus((greedy.emplace_back(connect())).get()) == CONNECTION_OK) {
    ASSERT_LT(greedy.size(), 40u);
  }
  EXPECT_EQ(greedy.size(), 21u);  // two thirds of what is not for newcomers, and a refusal
  EXPECT_STREQ(PQparameterStatus(greedy[0].get(), "server_encoding"), "UTF8");
  EXPECT_THAT(PQerrorMessage(greedy.back().get()),
              ::testing::HasSubstr("its share of those that all instances use is 15"));
  EXPECT_EQ(value(connect("options='-c trunkline.endpoint=" + other.instance_id() + "'"),
                  "SELECT 1"), "1");
  greedy.clear();
  EXPECT_TRUE(await([&] { return value(connect(), "SELECT 1") == "1"; }));
}

TEST_F(Login, what_is_no_packet_is_refused) {
  start();
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("\0\0\0\4\0\3\0\0", 8),
        std::string("\0\0\x27\x11\0\3\0\0", 8), std::string(8, '\xff')}) {
    RawClient client(proxy_->port());
    client.say(bytes);
    EXPECT_EQ(client.hear_all(), "");
  }
  RawClient old(proxy_->port());
  old.say(std::string("\0\0\0\x0c\0\2\0\0abcd", 12));
  EXPECT_THAT(old.hear_all(), ::testing::HasSubstr("0A000"));
}

TEST_F(Login, gss_is_declined_and_a_newer_protocol_negotiated) {
  start();
  RawClient client(proxy_->port());
  client.say(std::string("\0\0\0\x08\x04\xd2\x16\x30", 8));
  EXPECT_EQ(client.hear(1), "N");
  std::string packet = startup_packet({{"user", "app"}, {"_pq_.wishes", "on"}});
  packet[7] = 2;  // 3.2
  client.say(packet);
  const std::string answer = client.hear(5 + 4 + 4 + 12 + 24);
  EXPECT_EQ(answer[0], 'v');
  EXPECT_NE(answer.find("_pq_.wishes"), std::string::npos);
}

TEST_F(Login, replication_is_refused) {
  start();
  EXPECT_THAT(error_of("replication=database"), ::testing::HasSubstr("not served here"));
}

// The end of a node whose host dies is known in time, also by a session that only waits for it.
TEST_F(Login, a_silent_node_is_given_up) {
  start();
  const int fd = connect_socket("127.0.0.1", proxy_->port());
  const auto option = [fd](int level, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    getsockopt(fd, level, name, &value, &size);
    return value;
  };
  EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_LE(option(IPPROTO_TCP, TCP_KEEPIDLE) +
                option(IPPROTO_TCP, TCP_KEEPINTVL) * option(IPPROTO_TCP, TCP_KEEPCNT),
            11);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 10'000);
  close(fd);
}

class TlsLogin : public Login {
 protected:
  void SetUp() override {
    Login::SetUp();
    const std::string make =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=proxy -addext subjectAltName=IP:127.0.0.1 -keyout " + folder_.path() +
        "/key -out " + folder_.path() + "/crt 2>/dev/null";
    ASSERT_EQ(std::system(make.c_str()), 0);
    ProxyOptions options;
    options.tls_certificate_file = folder_.path() + "/crt";
    options.tls_key_file = folder_.path() + "/key";
    start(std::move(options));
  }
  trunkline::testing::TempDirectory folder_;
};

TEST_F(TlsLogin, binds_the_channel_and_verifies) {
  const Client client = connect("sslmode=verify-full channel_binding=require sslrootcert=" +
                                folder_.path() + "/crt");
  ASSERT_EQ(PQstatus(client.get()), CONNECTION_OK) << PQerrorMessage(client.get());
  EXPECT_EQ(value(client, "SELECT length(repeat('x', 5000000))"), "5000000");
  EXPECT_EQ(value(client, "SELECT repeat('x', 5000000)").size(), 5'000'000u);
}

TEST_F(TlsLogin, the_servers_name_chooses_the_endpoint) {
  const std::string base = "host=" + std::string(kInstance) +
                           ".example.org hostaddr=127.0.0.1 sslmode=require options='-cgeqo=off'";
  EXPECT_EQ(value(connect(base), "SELECT 1"), "1");
  const Client none = connect("host=99999999-2222-4333-8444-555555555555.example.org"
                              " hostaddr=127.0.0.1 sslmode=require options='-cgeqo=off'");
  EXPECT_THAT(PQerrorMessage(none.get()), ::testing::HasSubstr("password authentication failed"));
}

// libpq 17 sends its requests to cancel like this, and takes a connection that just breaks off for
// a failure.
TEST_F(TlsLogin, a_cancel_request_ends_with_tls_own_goodbye) {
  using Context = std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)>;
  using Connection = std::unique_ptr<SSL, void (*)(SSL*)>;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(proxy_->port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  const std::string request = ssl_request();
  ASSERT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  char answer = 0;
  ASSERT_EQ(recv(fd, &answer, 1, 0), 1);
  ASSERT_EQ(answer, 'S');
  const Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  const Connection tls(SSL_new(context.get()), SSL_free);
  SSL_set_fd(tls.get(), fd);
  ASSERT_EQ(SSL_connect(tls.get()), 1);
  const std::string cancel = cancel_request(1, 2);
  ASSERT_EQ(SSL_write(tls.get(), cancel.data(), static_cast<int>(cancel.size())),
            static_cast<int>(cancel.size()));
  char byte = 0;
  const int got = SSL_read(tls.get(), &byte, 1);
  EXPECT_EQ(SSL_get_error(tls.get(), got), SSL_ERROR_ZERO_RETURN);
  close(fd);
}

TEST_F(TlsLogin, wrong_password_over_tls) {
  EXPECT_EQ(error_of("password=wrong sslmode=require"),
            "FATAL:  password authentication failed for user \"app\"\n");
}

TEST_F(TlsLogin, bytes_sent_ahead_of_the_encryption_are_not_taken) {
  RawClient client(proxy_->port());
  client.say(ssl_request() + startup_packet({{"user", "app"}}));
  EXPECT_EQ(client.hear_all(), "");
}

TEST_F(TlsLogin, asking_twice_is_refused) {
  RawClient client(proxy_->port());
  client.say(ssl_request());
  EXPECT_EQ(client.hear(1), "S");
  client.say("this is no handshake");
  EXPECT_EQ(client.hear_all().find("authentication"), std::string::npos);
}

}  // namespace
}  // namespace trunkline::proxy
