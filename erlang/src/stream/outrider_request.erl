%%% A request's head: the sidecar's tuple in, Cowboy's map out.
%%%
%%% Runs in the stream's process, whose pid it takes in. The sidecar sends values without names: an atom that is read from a packet
%%% costs a lock and a search, and a map that is written here has its keys from a literal, of which no process has a copy.
-module(outrider_request).

-export([new/2]).
-export_type([head/0]).

%% docs/port-protocol.md, "request".
-type head() :: tuple().

%% Fails with {shutdown, bad_proxy_header} where the PROXY protocol's header is bad: without noise, as in Cowboy 2.18.
-spec new(ranch:ref(), head()) -> cowboy_req:req().
new(
    Ref,
    {Version, Method, Scheme, Host, Port, Path, Qs, Headers, Peer, Sock, Cert, HasBody, BodyLength, StreamId, More}
) ->
    Req = #{
        ref => Ref,
        pid => self(),
        streamid => StreamId,
        version => version(Version),
        method => Method,
        scheme => Scheme,
        host => Host,
        port => Port,
        path => Path,
        qs => Qs,
        headers => Headers,
        peer => Peer,
        sock => Sock,
        cert => defined(Cert),
        has_body => HasBody,
        body_length => defined(BodyLength)
    },
    case map_size(More) of
        0 -> Req;
        _ -> proxy_header(maps:merge(Req, More))
    end.

version(11) -> 'HTTP/1.1';
version(20) -> 'HTTP/2';
version(10) -> 'HTTP/1.0'.

defined([]) -> undefined;
defined(Value) -> Value.

%% The sidecar only finds its end.
proxy_header(Req = #{proxy_header := Header}) ->
    case ranch_proxy_header:parse(Header) of
        {ok, Info, <<>>} -> Req#{proxy_header := Info};
        _ -> exit({shutdown, bad_proxy_header})
    end;
proxy_header(Req) ->
    Req.
