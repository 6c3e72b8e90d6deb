"""torch_geometric: convolutions, pooling and a training run on small graphs."""

import torch
import torch.nn.functional as F
import torch_geometric.nn as gnn
from report import show, train
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.utils import add_self_loops, degree, softmax, to_dense_adj, to_undirected

torch.manual_seed(0)
edges = to_undirected(torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]]))
x = torch.randn(5, 6)
show("degree", degree(edges[0], 5))
show("loops", add_self_loops(edges, num_nodes=5)[0])
show("dense", to_dense_adj(edges))
show("softmax", softmax(torch.randn(edges.shape[1]), edges[0], num_nodes=5))
for name, make in {
    "GCNConv": lambda: gnn.GCNConv(6, 4),
    "SAGEConv": lambda: gnn.SAGEConv(6, 4),
    "GATConv": lambda: gnn.GATConv(6, 4, heads=2),
    "GATv2Conv": lambda: gnn.GATv2Conv(6, 4),
    "GINConv": lambda: gnn.GINConv(torch.nn.Linear(6, 4)),
    "ChebConv": lambda: gnn.ChebConv(6, 4, K=3),
    "GraphConv": lambda: gnn.GraphConv(6, 4),
    "TransformerConv": lambda: gnn.TransformerConv(6, 4),
    "TAGConv": lambda: gnn.TAGConv(6, 4),
    "SGConv": lambda: gnn.SGConv(6, 4, K=2),
    "APPNP": lambda: gnn.APPNP(3, 0.1),
    "EdgeConv": lambda: gnn.EdgeConv(torch.nn.Linear(12, 4)),
}.items():
    torch.manual_seed(1)
    layer = make()
    show(name, layer(x, edges))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = gnn.GCNConv(6, 16)
        self.norm = gnn.BatchNorm(16)
        self.b = gnn.GATConv(16, 8)
        self.out = torch.nn.Linear(8, 2)

    def forward(self, data):
        h = F.relu(self.norm(self.a(data.x, data.edge_index)))
        h = self.b(h, data.edge_index)
        return self.out(gnn.global_mean_pool(h, data.batch) + gnn.global_max_pool(h, data.batch))


graphs = [Data(x=torch.randn(5, 6), edge_index=edges, y=torch.tensor([i % 2])) for i in range(8)]
batch = Batch.from_data_list(graphs)
show("batch", batch.batch)
torch.manual_seed(2)
model = Net()
train("net", model, lambda: F.cross_entropy(model(batch), batch.y), torch.optim.Adam(model.parameters(), 0.01), steps=3)
torch.manual_seed(3)
show("loader", [b.x.shape[0] for b in DataLoader(graphs, batch_size=3, shuffle=True)])
show("repr", repr(graphs[0]))
