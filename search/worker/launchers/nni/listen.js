// Loaded into NNI's manager before its own code, by node's --require. NNI's servers would listen on every interface;
// here they listen on the addresses in BOOSTFORMER_NNI_LISTEN and nowhere else. When the process that started the
// manager is gone, the manager stops, and its workers with it.
'use strict';
const net = require('net');

const [first, ...others] = process.env.BOOSTFORMER_NNI_LISTEN.split(',');
const listen = net.Server.prototype.listen;

// Whoever gives an address, NNI's older servers '0.0.0.0', does not get it.
net.Server.prototype.listen = function (port, ...rest) {
    if (typeof port !== 'number') {
        throw new Error(`a server of NNI listens in a way that cannot be bound: ${port}`);
    }
    for (const host of others) {
        const door = net.createServer(socket => this.emit('connection', socket));
        door.on('error', error => this.emit('error', error));
        this.on('close', () => door.close());
        listen.call(door, { port, host });
    }
    return listen.call(this, { port, host: first }, rest.find(argument => typeof argument === 'function'));
};

delete process.env.NODE_OPTIONS; // for the manager alone, not for what it starts

const parent = process.ppid;
const watch = setInterval(() => {
    if (process.ppid !== parent) {
        clearInterval(watch);
        process.kill(process.pid, 'SIGTERM');
    }
}, 1000).unref();
