%% The scenes that the HTTP suites play most: a script for init/2, one request or a few, and what came of it. Each runs
%% on both servers (see same_test). And what both ends of a request with a body need.
-module(http_case).

-export([answer/2, answer/3, noted/2, post/2, read_all/2, serve/3]).

%% The response to a GET of this target, or to these bytes, by a handler whose init/2 is this fun of Req.
-spec answer(fun((cowboy_req:req()) -> cowboy_req:req()), iodata()) -> http_client:response() | closed.
answer(Reply, Request) ->
    answer(Reply, Request, #{}).

-spec answer(fun((cowboy_req:req()) -> cowboy_req:req()), iodata(), cowboy:opts()) -> http_client:response() | closed.
answer(Reply, Request, Protocol) ->
    #{wire := Response, log := []} = serve(Reply, Protocol, fun(Server) ->
        Socket = http_client:connect(Server),
        ok = http_client:send(Socket, request(Request)),
        http_client:response(Socket, method(Request))
    end),
    Response.

%% What this fun of Req returns in init/2 for this request; the answer is a plain 200.
-spec noted(fun((cowboy_req:req()) -> term()), iodata()) -> term().
noted(Look, Request) ->
    #{calls := Calls, log := []} = same_test:same(#{handler => {http_script_h, #{
        init => fun(Req, #{probe := Probe} = State) ->
            probe:note(Probe, {noted, Look(Req)}),
            {ok, cowboy_req:reply(200, Req), State}
        end
    }}}, fun(Server) ->
        Socket = http_client:connect(Server),
        ok = http_client:send(Socket, request(Request)),
        #{status := Status} = http_client:response(Socket, method(Request)),
        Status
    end),
    [Noted] = [Noted || {noted, Noted} <- Calls],
    Noted.

%% Any scenario with a handler whose init/2 answers with this fun of Req. How its processes end is not noted.
-spec serve(fun((cowboy_req:req()) -> cowboy_req:req()), cowboy:opts(), fun((same_test:server()) -> term())) ->
    same_test:transcript().
serve(Reply, Protocol, Scenario) ->
    Init = fun(Req, State) -> {ok, Reply(Req), State} end,
    same_test:same(#{handler => {http_script_h, #{silent => true, init => Init}}, protocol => Protocol}, Scenario).

%% A POST of this body, which has these fields besides its length.
-spec post([{string(), iodata()}], iodata()) -> iodata().
post(Fields, Body) ->
    http_client:request("POST", "/", [{"Content-Length", integer_to_list(iolist_size(Body))} | Fields], Body).

%% Reads the body until there is no more.
-spec read_all(cowboy_req:req(), cowboy_req:read_body_opts()) -> {binary(), cowboy_req:req()}.
read_all(Req, Opts) ->
    case cowboy_req:read_body(Req, Opts) of
        {ok, Body, Req1} -> {Body, Req1};
        {more, Body, Req1} ->
            {Rest, Req2} = read_all(Req1, Opts),
            {<<Body/binary, Rest/binary>>, Req2}
    end.

request("/" ++ _ = Target) -> http_client:request("GET", Target);
request(Bytes) -> Bytes.

method("/" ++ _) -> <<"GET">>;
method(Bytes) -> hd(binary:split(iolist_to_binary(Bytes), <<" ">>)).
