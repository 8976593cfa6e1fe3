// The limit that the gateway's GET is measured against: the same library answering a constant.
// usage: bare_pistache PORT
#include <pistache/endpoint.h>
#include <pistache/router.h>

#include <cstdlib>

int main(int argc, char** argv) {
  using namespace Pistache;
  if (argc != 2) return 1;
  Http::Endpoint endpoint(Address("127.0.0.1", Port(static_cast<uint16_t>(std::atoi(argv[1])))));
  Rest::Router router;
  Rest::Routes::Get(router, "/hello/:name",
                    [](const Rest::Request&, Http::ResponseWriter response) {
                      response.send(Http::Code::Ok, "hello");
                      return Rest::Route::Result::Ok;
                    });
  endpoint.init(Http::Endpoint::options().threads(2).flags(Tcp::Options::ReuseAddr));
  endpoint.setHandler(router.handler());
  endpoint.serve();
}
