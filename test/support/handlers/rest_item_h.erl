%% A REST resource with most of what cowboy_rest can do: negotiation, an etag, conditional requests, PUT, POST and
%% DELETE, and a method that is not allowed.
-module(rest_item_h).

-export([init/2, allowed_methods/2, resource_exists/2, content_types_provided/2, content_types_accepted/2,
    charsets_provided/2, languages_provided/2, generate_etag/2, last_modified/2, delete_resource/2, is_authorized/2,
    forbidden/2]).
-export([to_html/2, to_json/2, from_form/2]).

init(Req, State) ->
    {cowboy_rest, Req, State}.

allowed_methods(Req, State) ->
    {[<<"GET">>, <<"HEAD">>, <<"OPTIONS">>, <<"PUT">>, <<"POST">>, <<"DELETE">>], Req, State}.

is_authorized(Req, State) ->
    case cowboy_req:qs(Req) of
        <<"unauthorized">> -> {{false, <<"Basic realm=\"r\"">>}, Req, State};
        _ -> {true, Req, State}
    end.

forbidden(Req, State) ->
    {cowboy_req:qs(Req) =:= <<"forbidden">>, Req, State}.

resource_exists(Req, State) ->
    {cowboy_req:qs(Req) =/= <<"missing">>, Req, State}.

content_types_provided(Req, State) ->
    {[{<<"text/html">>, to_html}, {{<<"application">>, <<"json">>, []}, to_json}], Req, State}.

languages_provided(Req, State) ->
    {[<<"en">>, <<"de">>], Req, State}.

charsets_provided(Req, State) ->
    {[<<"utf-8">>], Req, State}.

content_types_accepted(Req, State) ->
    {[{<<"application/x-www-form-urlencoded">>, from_form}], Req, State}.

generate_etag(Req, State) ->
    {<<"\"v1\"">>, Req, State}.

last_modified(Req, State) ->
    {{{2020, 1, 2}, {3, 4, 5}}, Req, State}.

delete_resource(Req, State) ->
    {true, Req, State}.

to_html(#{language := Language} = Req, State) ->
    {["<p>", Language, "</p>"], Req, State}.

to_json(Req, State) ->
    {<<"{}">>, Req, State}.

from_form(Req0, State) ->
    {ok, Form, Req} = cowboy_req:read_urlencoded_body(Req0),
    case cowboy_req:method(Req) of
        <<"POST">> -> {{true, <<"/created">>}, Req, State};
        <<"PUT">> -> {Form =/= [], Req, State}
    end.
